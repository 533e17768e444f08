"""Gauges of a golden state, kept in runtime/wire/engineMetrics.golden.txt: the operator's reader is tried on them."""

from __future__ import annotations

import json
from pathlib import Path

from csps_engine.metrics import Metrics
from csps_engine.wire.engine_metrics import ENGINE_METRICS
from csps_engine.wire.generated import RankRef, RankState

WIRE = Path(__file__).parents[4] / "runtime" / "wire"
STATES = [RankState.model_validate(one) for one in json.loads((WIRE / "golden/RankState.json").read_text())["valid"]]


def told(state: RankState) -> dict[str, str]:
    """Samples of the operator's gauges, value by name and labels."""
    names = tuple(metric.name for metric in ENGINE_METRICS)
    lines = Metrics().text(state).decode().splitlines()
    samples = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {name: value for name, value in samples if name.partition("{")[0] in names}


def test_gauges_are_written_as_they_are_kept_for_the_reader() -> None:
    kept = (WIRE / "engineMetrics.golden.txt").read_text()
    assert kept in Metrics().text(STATES[-1]).decode()
    assert all(f"# TYPE {metric.name} gauge\n" in kept for metric in ENGINE_METRICS)


def test_every_gauge_is_there_while_the_rank_has_nothing_to_say() -> None:
    awaiting = next(state for state in STATES if state.coordinator is None and state.load is None)
    values = told(awaiting)
    assert len(values) == len(ENGINE_METRICS)
    for name in ("csps_rank_coordinates", "csps_prompt_tokens_waiting", "csps_oldest_wait_seconds"):
        assert values[name] == "0.0"


def test_the_successor_of_a_dead_coordinator_does_not_coordinate_by_its_name() -> None:
    state = STATES[-1]
    reborn = RankRef.model_validate({**state.rank.to_wire(), "incarnation": "another"})
    assert told(state)["csps_rank_coordinates"] == "1.0"
    assert told(state.model_copy(update={"rank": reborn}))["csps_rank_coordinates"] == "0.0"


def test_labels_are_escaped() -> None:
    odd = STATES[-1].model_copy(update={"group": 'a"b\\c'})
    assert any('group="a\\"b\\\\c"' in name for name in told(odd))
