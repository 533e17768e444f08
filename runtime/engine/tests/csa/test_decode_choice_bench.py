"""The program that judges decode's choice of blocks, judged: what is exact has to come out so."""

from __future__ import annotations

from pathlib import Path

from bench.decode_choice import WARM_UP, measure

STEPS = 5


def test_every_setting_is_fed_the_tokens_of_exact_decode_and_tells_what_it_read(model_file: Path) -> None:
    parties = measure(model_file, 450, [20], STEPS, rounds=1)
    assert list(parties) == ["exact", "20 %"]
    exact, chosen = parties.values()
    assert (exact.same, exact.reports) == (STEPS, [])
    assert len(chosen.reports) == STEPS
    assert len(chosen.seconds) == STEPS - WARM_UP
    assert all(report.read_tokens > report.skipped_tokens > 0 for report in chosen.reports)
    assert min(report.covered for report in chosen.reports) > 0.9
