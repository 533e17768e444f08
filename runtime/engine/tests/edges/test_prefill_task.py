"""From the message that asks for a prefill to what waits in the queue."""

from __future__ import annotations

import json
import math
from pathlib import Path

from csps_engine.server.serving import prefill_task
from csps_engine.wire.generated import PrefillRequest

GOLDEN = Path(__file__).parents[4] / "runtime" / "wire" / "golden" / "PrefillRequest.json"


def test_a_prompts_objective_and_what_it_has_waited_are_seconds_and_without_one_it_never_stands_back() -> None:
    with_objective, without = (
        prefill_task(PrefillRequest.model_validate(message), 100.0)
        for message in json.loads(GOLDEN.read_text("utf-8"))["valid"]
    )
    assert (with_objective.objective_seconds, with_objective.waited_seconds) == (2.0, 0.12)
    assert (without.objective_seconds, without.waited_seconds) == (math.inf, 0.0)
    assert with_objective.deadline == 130.0
