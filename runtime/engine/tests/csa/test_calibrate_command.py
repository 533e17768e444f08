"""The command that calibrates: on the real small model, and when it can't."""

from __future__ import annotations

from pathlib import Path
from pydoc_data.topics import topics

import pytest

from csps_engine.__main__ import main
from csps_engine.csa.profile import read_profile
from csps_engine.model.load import open_model


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(" ".join(topics.values())[:6000], "utf-8")
    return path


def test_the_command_writes_a_profile_that_ranks_read(
    model_file: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "profile.json"
    where = ["--model", str(model_file), "--out", str(out), "--text", str(text)]
    # A short prompt is local: much may be left out.
    floor = ["--tokens", "512", "--ranks", "2", "--poor", "0.05", "--missing", "0.05"]
    assert main(["calibrate", *where, *floor]) == 0
    profile = read_profile(out, open_model(model_file).config())
    assert profile.expected["missing"] <= 0.05
    assert profile.expected["poor"] <= 0.05
    assert 0 < profile.expected["keysFetched"] < 1
    tolerances = {value for row in profile.tolerances for value in row}
    assert 1.0 in tolerances
    assert len(tolerances) > 2
    assert f"{sum(row.count(1.0) for row in profile.tolerances)} of 90 KV heads stream" in capsys.readouterr().err


def test_a_text_shorter_than_a_prompt_is_refused(
    model_file: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "profile.json"
    asked = ["calibrate", "--model", str(model_file), "--out", str(out), "--text", str(text), "--tokens", "8192"]
    assert main(asked) == 2
    assert "a calibration prompt takes 8192" in capsys.readouterr().err
    assert not out.exists()
