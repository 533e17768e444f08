"""Settings of sparse attention for a rank, from its configuration and, for prefill, the profile beside its model."""

from __future__ import annotations

import dataclasses

from csps_engine.config import EngineConfig
from csps_engine.csa.decode_settings import DecodeChoice
from csps_engine.csa.profile import read_profile
from csps_engine.csa.settings import CsaSettings
from csps_engine.model.config import ModelConfig

PROFILE = "sparse-profile.json"
"""Name of the profile that `csps_engine calibrate` writes, in the folder of the model; it may be absent."""


def sparse_settings(config: EngineConfig, model: ModelConfig) -> CsaSettings | None:
    """Of prefill. None: attention is exact. Raises CsaError for a profile that is not the model's."""
    limits = config.sparse
    if limits is None or config.role == "decode":
        return None
    plain = CsaSettings()
    levels = tuple(dataclasses.replace(level, budget=limits.budget) for level in plain.levels)
    settings = dataclasses.replace(
        plain, levels=levels, dense_tokens=limits.min_tokens - 1, quality_floor=limits.quality_floor
    )
    folder = config.model_path if config.model_path.is_dir() else config.model_path.parent
    profile = folder / PROFILE
    return read_profile(profile, model).apply(settings) if profile.exists() else settings


def decode_choice(config: EngineConfig) -> DecodeChoice | None:
    """Of a decode pool. None: steps read all pages."""
    limits = config.sparse
    if limits is None or config.role == "prefill":
        return None
    return DecodeChoice(share=limits.threshold, min_tokens=limits.min_tokens)
