"""One prompt in a group, as one rank sees it: its layers if the rank computes it, and its KV on the way to the pool."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from csps_engine.core.plan import PrefillResult
from csps_engine.loop.prompt_pass import PassMember
from csps_engine.model.config import ModelError
from csps_engine.pipeline.mode import ModeError
from csps_engine.pipeline.prefill import PrefillRun
from csps_engine.scheduler.ticks import PrefillOrder
from csps_engine.transfer.prefix_pull import PrefixPull
from csps_engine.transfer.push_sink import PushSink
from csps_engine.wire.generated import FailureCode

log = logging.getLogger(__name__)

CODES: tuple[FailureCode, ...] = get_args(FailureCode)
DONE, PUSHING, COMPUTING, FAILED = 0, 1, 2, 3
"""Of a rank in a prompt: the larger, the less is done. A rank that has no part in it is done."""
NUMBERS = 5
"""How many numbers a rank reports of a prompt."""
ANY_LAYERS = 10**6
"""A prompt waits for nothing before so many of its next layers."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a prompt is on all ranks together."""

    state: int
    failure: FailureCode | None
    kv_bytes: int
    """Acknowledged by the pool."""
    seconds: float
    """Of computing in this tick, on the slowest rank."""
    ready: int = ANY_LAYERS
    """Next layers whose part of a known beginning is there on every rank."""


class RankRun:
    """`begin` makes the run of a rank that takes part, and raises alike on all of them; None: it takes no part."""

    def __init__(self, order: PrefillOrder, sink: PushSink | None = None, beginning: PrefixPull | None = None) -> None:
        self.order = order
        self.told = False
        """Every rank knows the first token."""
        self.result: PrefillResult | None = None
        self._sink = sink
        self._beginning = beginning
        self._run: PrefillRun | PassMember | None = None
        self._refused = False
        self._seconds = 0.0

    def begin(self, run: PrefillRun | PassMember) -> None:
        """Take part with this run."""
        self._run = run

    def refuse(self, error: ModeError | ModelError) -> None:
        """The prompt can't be computed as asked; found by every rank of it alike."""
        log.warning("%s is refused: %s", self.order.request_id, error)
        self._refused = True

    @property
    def acknowledged_bytes(self) -> int:
        return self._sink.acknowledged_bytes if self._sink is not None else 0

    @property
    def in_pass(self) -> bool:
        return isinstance(self._run, PassMember)

    @property
    def computing(self) -> bool:
        return self._run is not None and self.result is None

    def advance(self, layers: int) -> None:
        """Compute so many layers; after the last one the first token is known. Collective over the prompt's ranks.

        For a prompt of a pass: for all of them, and with 0 layers only what is left to do for this one.
        """
        run = self._run
        if run is None or self.result is not None:
            return
        began = time.monotonic()
        for _ in range(min(layers, run.layers - run.layers_done)):
            run.step()
        if run.layers_done == run.layers:
            self.result = run.finish()
            self.close()
        self._seconds += time.monotonic() - began

    def report(self, seconds: float) -> list[int]:
        """NUMBERS numbers; waits for the pool for at most `seconds` when nothing else can be done for the prompt."""
        micros, self._seconds = int(1e6 * self._seconds), 0.0
        if self._refused:
            return [FAILED, CODES.index("bad_request"), 0, micros, ANY_LAYERS]
        sink = self._sink
        if sink is None:
            return [DONE, 0, 0, micros, ANY_LAYERS]
        ready = ANY_LAYERS
        if self.computing and self._beginning is not None:
            ready = self._beginning.ready(seconds)
        pushed = not self.computing and sink.poll(seconds)
        if sink.failure is not None:
            log.warning("pushing KV of %s failed: %s", self.order.request_id, sink.failure.message)
            return [FAILED, CODES.index(sink.failure.code), sink.acknowledged_bytes, micros, ready]
        state = COMPUTING if self.computing else DONE if pushed else PUSHING
        return [state, 0, sink.acknowledged_bytes, micros, ready]

    def close(self) -> None:
        """No more KV comes."""
        if isinstance(self._run, PassMember):
            self._run.leave()
        if self._sink is not None:
            self._sink.finish()


def of_rank(processes: list[list[int]]) -> list[int]:
    """Reports of a rank's processes as the rank's: it waits for, and fails with, any of them."""
    joined = []
    for at in range(0, len(processes[0]), NUMBERS):
        states, codes, sizes, micros, ready = zip(*(row[at : at + NUMBERS] for row in processes), strict=True)
        joined += [max(states), max(codes), sum(sizes), max(micros), min(ready)]
    return joined


def standings(rows: Sequence[Sequence[int]], runs: int) -> list[Standing]:
    """Of each run, from the reports of every rank."""
    found = []
    for at in range(0, NUMBERS * runs, NUMBERS):
        reports = [row[at : at + NUMBERS] for row in rows]
        state, code = max((report[0], report[1]) for report in reports)
        failure = CODES[code] if state == FAILED else None
        _, _, sizes, micros, ready = zip(*reports, strict=True)
        found.append(Standing(state, failure, sum(sizes), max(micros) / 1e6, min(ready)))
    return found
