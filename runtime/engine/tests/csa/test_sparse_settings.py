"""What a rank's environment and the profile beside its model make of the settings of sparse attention."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from rank_environment import rank_environment
from tiny_llama import random_llama

from csps_engine.config import ConfigError, read_config
from csps_engine.csa.decode_settings import DecodeChoice
from csps_engine.csa.profile import HeadProfile, write_profile
from csps_engine.csa.settings import CsaError, CsaSettings
from csps_engine.server.sparse import PROFILE, decode_choice, sparse_settings

MODEL = random_llama(4, 2, layers=2).config


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    model = tmp_path / "model.gguf"
    model.touch()
    return rank_environment(
        tmp_path,
        CSPS_GROUP="chat-prefill-0",
        CSPS_ROLE="prefill",
        CSPS_RANK_ID="chat-prefill-0-0",
        CSPS_MODEL_PATH=str(model),
        CSPS_SPARSE_ATTENTION="enabled",
    )


def test_attention_is_exact_unless_sparse_is_enabled(environment: dict[str, str]) -> None:
    del environment["CSPS_SPARSE_ATTENTION"]
    assert sparse_settings(read_config(environment), MODEL) is None


def test_limits_of_the_deployment_become_settings(environment: dict[str, str]) -> None:
    limits = {
        "CSPS_SPARSE_MIN_TOKENS": "4096",
        "CSPS_SPARSE_BUDGET_PERCENT": "30",
        "CSPS_SPARSE_QUALITY_FLOOR_PERCENT": "97",
    }
    settings = sparse_settings(read_config({**environment, **limits}), MODEL)
    assert settings is not None
    assert [level.budget for level in settings.levels] == [0.3, 0.3]
    # A prompt of 4,096 tokens is the first that is not dense.
    assert (settings.dense_tokens, settings.quality_floor) == (4095, 0.97)
    assert settings.tolerance_of(1, 1) == CsaSettings().tolerance


def test_a_profile_beside_the_model_sets_tolerances_whether_the_model_is_a_file_or_a_folder(
    environment: dict[str, str], tmp_path: Path
) -> None:
    write_profile(tmp_path / PROFILE, HeadProfile(32, ((0.05, 1.0), (0.1, 0.2)), {}), MODEL)
    for path in (tmp_path / "model.gguf", tmp_path):
        settings = sparse_settings(read_config({**environment, "CSPS_MODEL_PATH": str(path)}), MODEL)
        assert settings is not None
        assert settings.tolerance_of(0, 1) == 1.0
    other = dataclasses.replace(MODEL, vocab=MODEL.vocab + 1)
    with pytest.raises(CsaError, match=PROFILE):
        sparse_settings(read_config(environment), other)


def test_a_decode_pool_chooses_by_its_own_limits_and_a_prefill_group_by_its_own(environment: dict[str, str]) -> None:
    decode = {**environment, "CSPS_ROLE": "decode", "CSPS_SPARSE_MIN_TOKENS": "4096"}
    choice = decode_choice(read_config({**decode, "CSPS_SPARSE_THRESHOLD_PERCENT": "10"}))
    assert choice is not None
    assert (choice.share, choice.min_tokens) == (0.1, 4096)
    assert sparse_settings(read_config(decode), MODEL) is None
    assert decode_choice(read_config(environment)) is None
    assert decode_choice(read_config(decode)) == DecodeChoice(min_tokens=4096)


def test_a_decode_pool_reads_all_pages_unless_sparse_is_enabled(environment: dict[str, str]) -> None:
    assert decode_choice(read_config({**environment, "CSPS_ROLE": "decode", "CSPS_SPARSE_ATTENTION": ""})) is None


@pytest.mark.parametrize(
    ("field", "value"), [("share", 1.5), ("min_tokens", 0), ("dense_layers", -1), ("block_tokens", 48)]
)
def test_a_choice_that_cannot_hold_is_refused(field: str, value: float) -> None:
    with pytest.raises(CsaError, match=field):
        DecodeChoice(**{field: value})


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("CSPS_SPARSE_ATTENTION", "on", "must be one of disabled, enabled"),
        ("CSPS_SPARSE_MIN_TOKENS", "0", "must be a whole number from 1"),
        ("CSPS_SPARSE_BUDGET_PERCENT", "0", "must be a whole number from 1 to 100"),
        ("CSPS_SPARSE_QUALITY_FLOOR_PERCENT", "101", "must be a whole number from 0 to 100"),
        ("CSPS_SPARSE_THRESHOLD_PERCENT", "0", "must be a whole number from 1 to 100"),
    ],
)
def test_a_limit_that_cannot_hold_is_refused(environment: dict[str, str], name: str, value: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}={value}: {rule}"):
        read_config({**environment, name: value})
