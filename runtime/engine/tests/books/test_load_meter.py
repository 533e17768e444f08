from __future__ import annotations

import pytest

from csps_engine.loop.load_meter import DecodeStep, LoadMeter, PrefillSample, Queued
from csps_engine.wire.generated import SparseSummary


def test_steps_older_than_a_minute_do_not_count() -> None:
    meter = LoadMeter()
    for second in range(200):
        meter.stepped(0.010 if second < 199 else 0.5, now=float(second))
    load = meter.report(now=200.0)
    assert load.steps == 60
    assert load.step_p50_ms == pytest.approx(10)
    assert load.step_p99_ms == pytest.approx(500)
    assert meter.step_seconds == pytest.approx(0.010 + 0.1 * 0.49)


def test_an_idle_rank_reports_nothing() -> None:
    load = LoadMeter().report(now=5.0)
    assert (load.steps, load.step_p99_ms, load.oldest_wait_ms, load.prefills, load.decodes) == (0, 0, 0, [], [])


def test_reports_are_numbered_once_bounded_and_forgotten() -> None:
    meter = LoadMeter()
    for number in range(50):
        meter.prefilled(PrefillSample(100 + number, degree=2, seconds=1.0, queued_seconds=0.25), now=float(number))
    load = meter.report(now=60.0)
    assert [report.number for report in load.prefills] == list(range(19, 51))
    newest = load.prefills[-1]
    assert (newest.tokens, newest.degree, newest.queued_seconds, newest.age_ms) == (149, 2, 0.25, 11_000)
    assert meter.report(now=345.0).prefills[0].number == 46
    assert meter.report(now=400.0).prefills == []


def test_a_thinned_prompt_is_reported_with_what_it_left_out() -> None:
    meter, sparse = LoadMeter(), SparseSummary(fetched_bytes=1, available_bytes=4, mass_mean=0.99, mass_p01=0.9)
    meter.prefilled(PrefillSample(3000, degree=4, seconds=1.0, queued_seconds=0.0, sparse=sparse), now=1.0)
    meter.prefilled(PrefillSample(3000, degree=4, seconds=1.5, queued_seconds=0.0), now=2.0)
    assert [report.sparse for report in meter.report(now=3.0).prefills] == [sparse, None]


def test_decode_steps_are_sampled_and_give_the_scan_rate() -> None:
    meter = LoadMeter()
    step = DecodeStep(rows=3, context_tokens=900, ranks=2, scan_bytes=4_000, seconds=0.01)
    assert meter.wants_sample(now=1.0)
    meter.sampled(step, now=1.0)
    assert not meter.wants_sample(now=2.0)
    assert meter.scan_bytes_per_second == pytest.approx(400_000)
    assert [(d.rows, d.context_tokens, d.ranks) for d in meter.report(now=2.0).decodes] == [(3, 900, 2)]


def test_what_waits_is_told_with_its_tokens_and_age() -> None:
    meter = LoadMeter()
    meter.queued = Queued(prompt_tokens=4096, since=10.0, running_prompt_tokens=512)
    load = meter.report(now=10.25)
    assert (load.waiting_prompt_tokens, load.running_prompt_tokens, load.oldest_wait_ms) == (4096, 512, 250)
