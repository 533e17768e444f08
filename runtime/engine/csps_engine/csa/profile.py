"""The profile of a model's KV heads that calibration writes and ranks read: how much each may leave out.

JSON: {"version": 1, "model": {shape of the model}, "blockTokens": 32, "tolerances": [[one per KV head] per layer],
       "expected": {what it led to on the calibration text}}
A tolerance of 1 marks a streaming head, which fetches nothing but sinks and recent blocks.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csps_engine.csa.settings import CsaError, CsaSettings
from csps_engine.model.config import ModelConfig

VERSION = 1
SHAPE = ("layers", "hidden", "heads", "kv_heads", "head_dim", "vocab", "rope_theta")
"""Fields of a model that must be those of the profile."""


@dataclass(frozen=True, slots=True)
class HeadProfile:
    """Tolerances by layer and KV head, for blocks of `block_tokens`."""

    block_tokens: int
    tolerances: tuple[tuple[float, ...], ...]
    expected: Mapping[str, float]
    """What calibration measured with them: keysFetched, massMean, massP01."""

    def apply(self, settings: CsaSettings) -> CsaSettings:
        """The settings with these tolerances; raises CsaError when they were found for other blocks."""
        if self.block_tokens != settings.block_tokens:
            raise CsaError(f"blockTokens is {self.block_tokens}, blocks of {settings.block_tokens} tokens are in use")
        return dataclasses.replace(settings, tolerances=self.tolerances)


def write_profile(path: Path, profile: HeadProfile, model: ModelConfig) -> None:
    """Write the profile of `model`."""
    document = {
        "version": VERSION,
        "model": {field: getattr(model, field) for field in SHAPE},
        "blockTokens": profile.block_tokens,
        "tolerances": profile.tolerances,
        "expected": dict(profile.expected),
    }
    path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def read_profile(path: Path, model: ModelConfig) -> HeadProfile:
    """Read a profile and check that it is `model`'s; raises CsaError with the file, the field and the rule."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CsaError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise CsaError(f"{path}: version must be {VERSION}; write it anew with `csps_engine calibrate`")
    shape = document.get("model")
    for field in SHAPE:
        theirs = shape.get(field) if isinstance(shape, dict) else None
        if theirs != getattr(model, field):
            raise CsaError(f"{path}: model.{field} is {theirs}, the model's is {getattr(model, field)}")
    block_tokens = document.get("blockTokens")
    if type(block_tokens) is not int:
        raise CsaError(f"{path}: blockTokens must be a whole number, not {block_tokens!r}")
    tolerances = _tolerances(path, document.get("tolerances"), model)
    expected = document.get("expected")
    profile = HeadProfile(block_tokens, tolerances, expected if isinstance(expected, dict) else {})
    try:
        profile.apply(CsaSettings())
    except CsaError as error:
        raise CsaError(f"{path}: {error}") from error
    return profile


def _tolerances(path: Path, rows: Any, model: ModelConfig) -> tuple[tuple[float, ...], ...]:
    if not isinstance(rows, list) or len(rows) != model.layers:
        raise CsaError(f"{path}: tolerances must list the model's {model.layers} layers")
    for layer, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != model.kv_heads:
            raise CsaError(f"{path}: tolerances[{layer}] must list the model's {model.kv_heads} KV heads")
        _check(path, layer, row)
    return tuple(tuple(float(value) for value in row) for row in rows)


def _check(path: Path, layer: int, row: Sequence[Any]) -> None:
    for head, value in enumerate(row):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value <= 1:
            raise CsaError(f"{path}: tolerances[{layer}][{head}] must be a number in [0, 1], not {value!r}")
