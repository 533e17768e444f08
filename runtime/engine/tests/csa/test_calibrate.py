"""Calibration: what its curves say, what it allots, and the profile file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_llama import random_llama

from csps_engine.calibrate.allot import Floor, Unreachable, allot
from csps_engine.calibrate.curve import GRID, Curve, LayerJudge
from csps_engine.csa.profile import HeadProfile, read_profile, write_profile
from csps_engine.csa.settings import CsaError, CsaSettings

MODEL = random_llama(4, 2, layers=2).config
PROFILE = HeadProfile(32, ((0.05, 1.0), (0.1, 0.2)), {"keysFetched": 0.5})


def test_a_head_that_looks_near_streams_and_one_that_looks_anywhere_fetches_for_its_coverage() -> None:
    draw = torch.Generator().manual_seed(0)
    tokens, size = 1024, 16
    # Head 0: all weight on the first token, a sink; head 1: evenly spread.
    k = torch.randn(2, tokens, size, generator=draw) * 0.1
    q = torch.randn(tokens, 2, size, generator=draw) * 0.1
    k[0, 0, 0], q[:, 0, 0] = 20.0, 20.0
    curve = LayerJudge(tokens, 2, CsaSettings()).curve(q, k)
    assert curve.poor[0].tolist() == [0.0, 1.0] or curve.poor[0, 0] == 0 < curve.poor[0, 1]
    assert (curve.fetched.diff(dim=0) >= 0).all()
    assert (curve.missing.diff(dim=0) <= 1e-6).all()
    assert curve.fetched[-1, 1] > 0.9
    found = allot([curve], Floor(0.0, 0.05))
    assert found.tolerances[0, 0] == 1
    # Of the two heads' mean of 0.05, all is the second's.
    assert found.tolerances[0, 1] < 0.12
    assert found.missing <= 0.05


def test_keys_go_where_they_serve_most_and_no_further() -> None:
    fetched = torch.linspace(0, 1, len(GRID)).unsqueeze(1).expand(-1, 2)
    poor = torch.stack([0.1 * (1 - fetched[:, 0]), 0.4 * (1 - fetched[:, 1]) ** 2], 1)
    found = allot([Curve(fetched, poor, poor)], Floor(0.1, 0.1))
    assert found.poor <= 0.1
    assert found.tolerances[0, 0] > found.tolerances[0, 1]
    with pytest.raises(Unreachable, match="badly served"):
        allot([Curve(fetched, poor + 0.2, poor)], Floor(0.1, 0.1))


def test_a_profile_is_read_as_it_was_written_and_sets_tolerances(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    write_profile(path, PROFILE, MODEL)
    assert read_profile(path, MODEL) == PROFILE
    applied = PROFILE.apply(CsaSettings())
    assert [applied.tolerance_of(0, 1), applied.tolerance_of(1, 0)] == [1.0, 0.1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(version=2), "version must be 1"),
        (lambda d: d["model"].update(heads=7), "model.heads is 7, the model's is 4"),
        (lambda d: d.update(blockTokens=64), "blocks of 32 tokens are in use"),
        (lambda d: d.update(tolerances=[]), "the model's 2 layers"),
        (lambda d: d["tolerances"][1].pop(), r"tolerances\[1\] must list the model's 2 KV heads"),
        (lambda d: d["tolerances"][0].__setitem__(1, 1.5), r"tolerances\[0\]\[1\] must be a number"),
        (lambda d: d["tolerances"][0].__setitem__(1, True), r"tolerances\[0\]\[1\] must be a number"),
    ],
)
def test_a_profile_that_does_not_fit_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = tmp_path / "profile.json"
    write_profile(path, PROFILE, MODEL)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(CsaError, match=message):
        read_profile(path, MODEL)


def test_a_profile_of_another_model_or_of_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    write_profile(path, PROFILE, dataclasses.replace(MODEL, vocab=MODEL.vocab + 1))
    with pytest.raises(CsaError, match=r"model\.vocab"):
        read_profile(path, MODEL)
    path.write_text("{")
    with pytest.raises(CsaError, match="cannot be read as JSON"):
        read_profile(path, MODEL)
