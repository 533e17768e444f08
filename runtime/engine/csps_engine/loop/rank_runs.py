"""The prompts that a prefill group has begun, as one rank sees them: begun, computed and left as ticks say.

Every rank keeps the same ones in the same order, those that others compute among them: so all report the same numbers
of the same prompts, and each knows how far every prompt is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from csps_engine.comm.mesh import Mesh
from csps_engine.comm.part import part_of
from csps_engine.core.kvshape import KvShape
from csps_engine.core.plan import PrefillJob
from csps_engine.loop.first_tokens import FirstToken, share_first_tokens
from csps_engine.loop.gathering import gather_numbers
from csps_engine.loop.prefill_policy import PrefillPolicy
from csps_engine.loop.prefill_run import COMPUTING, DONE, RankRun, Standing, of_rank, standings
from csps_engine.loop.prefix_reuse import beginning_of
from csps_engine.loop.prompt_pass import PromptPass
from csps_engine.metrics import Metrics
from csps_engine.model.config import ModelError
from csps_engine.model.llama import Llama
from csps_engine.pipeline.cost import FixedPieces
from csps_engine.pipeline.mode import ModeError
from csps_engine.pipeline.prefill import DEFAULT_CSA, PrefillRunner
from csps_engine.scheduler.ticks import Advance, PrefillOrder
from csps_engine.transfer.push_sink import PushSink
from csps_engine.transfer.transport import Access
from csps_engine.wire.generated import Reservation

POLL_SECONDS = 0.05
"""How long a tick waits for the pool when nothing is left to compute."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What every rank knows after a slice, by request."""

    standings: dict[str, Standing]
    first_tokens: dict[str, FirstToken]
    """Those that were computed in this slice."""

    @property
    def over(self) -> list[str]:
        """What is done or has failed."""
        return [name for name, at in self.standings.items() if at.state == DONE or at.failure is not None]


class RankRuns:
    """The engine thread owns it."""

    def __init__(self, model: Llama, policy: PrefillPolicy, shape: KvShape, access: Access, metrics: Metrics) -> None:
        self._model = model
        self._policy = policy
        self._shape = shape
        self._access = access
        self._metrics = metrics
        self._runs: dict[str, RankRun] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def begin(self, orders: Sequence[PrefillOrder], mesh: Mesh) -> None:
        """Those of one pass come one after another, behind the one that they joined."""
        for first in orders:
            if first.joined:
                continue
            mates = [first, *(order for order in orders if order.joined == first.request_id)]
            if mesh.rank not in first.ranks:
                self._runs |= {order.request_id: RankRun(order) for order in mates}
            elif len(mates) == 1:
                self._runs[first.request_id] = self._begin_one(first, mesh)
            else:
                self._runs |= self._begin_pass(mates)

    def go_on(self, advances: Sequence[Advance], mesh: Mesh) -> Heard:
        """Compute this slice's layers, then tell and hear how far all ranks are. Collective, with one run or more."""
        for advance in advances:
            self._runs[advance.request_id].advance(advance.layers)
        runs = list(self._runs.values())
        for run in runs:
            if run.in_pass:
                run.advance(0)
        wait = 0.0 if advances else POLL_SECONDS / len(runs)
        reports = [number for run in runs for number in run.report(wait)]
        found = standings(gather_numbers(mesh, reports, of_rank), len(runs))
        computed = [run for run, at in zip(runs, found, strict=True) if at.state < COMPUTING and not run.told]
        first_tokens = share_first_tokens(mesh, computed) if computed else {}
        for run in computed:
            run.told = True
            if run.result is not None and run.result.sparse is not None:
                self._metrics.sparse_prefill(run.result.sparse)
        return Heard({run.order.request_id: at for run, at in zip(runs, found, strict=True)}, first_tokens)

    def leave(self, request_ids: Sequence[str]) -> None:
        """Compute and push no more of these; those that are not known are none."""
        for request_id in request_ids:
            run = self._runs.pop(request_id, None)
            if run is not None:
                run.close()
                self._metrics.kv_pushed.inc(run.acknowledged_bytes)

    def end_epoch(self) -> None:
        """Break all off."""
        for run in self._runs.values():
            run.close()
        self._runs = {}

    def _begin_pass(self, orders: Sequence[PrefillOrder]) -> dict[str, RankRun]:
        now = time.monotonic()
        reservations = [Reservation.model_validate_json(order.reservation) for order in orders]
        sinks = [
            PushSink(reservation, self._shape, self._access, now + order.budget_ms / 1000)
            for order, reservation in zip(orders, reservations, strict=True)
        ]
        runs = [RankRun(order, sink) for order, sink in zip(orders, sinks, strict=True)]
        jobs = [PrefillJob(order.request_id, order.token_ids, order.sampling) for order in orders]
        for run, member in zip(runs, PromptPass(self._model, jobs, sinks).members(), strict=True):
            run.begin(member)
        return {run.order.request_id: run for run in runs}

    def _begin_one(self, order: PrefillOrder, mesh: Mesh) -> RankRun:
        deadline = time.monotonic() + order.budget_ms / 1000
        reservation = Reservation.model_validate_json(order.reservation)
        beginning = beginning_of(order, reservation, self._shape, self._access, deadline)
        sink = PushSink(reservation, self._shape, self._access, deadline, beginning)
        job = PrefillJob(order.request_id, order.token_ids, order.sampling, self._policy.mode, order.attention)
        part, csa = part_of(mesh, order.ranks), self._policy.sparse or DEFAULT_CSA
        run = RankRun(order, sink, beginning)
        try:
            run.begin(PrefillRunner(self._model, part, csa, FixedPieces(order.pieces)).begin(job, sink, beginning))
        except (ModeError, ModelError) as error:
            run.refuse(error)
        return run
