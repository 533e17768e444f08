"""A prefill group's part of an epoch: prompts side by side on parts of its ranks, each pushed to the pool.

The coordinator says in every tick which prompts begin, on which ranks, and how many layers each of them goes on. All
ranks do so, then tell each other how far they are: so ticks are short, a dead rank shows soon, a cancelled prompt is
left between two layers, and ranks that are done with one begin another. The first token is told only after every
rank's pages were acknowledged by their holders; ranks compute other prompts meanwhile.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from csps_engine.comm.mesh import Mesh
from csps_engine.comm.part import part_of
from csps_engine.core.kvshape import KvShape
from csps_engine.core.plan import PrefillJob, PrefillMode
from csps_engine.csa.settings import CsaSettings
from csps_engine.loop.epoch_work import Epoch, Load
from csps_engine.loop.first_tokens import FirstToken, share_first_tokens
from csps_engine.loop.gathering import gather_numbers
from csps_engine.loop.load_meter import LoadMeter
from csps_engine.loop.prefill_book import Passes, PrefillBook
from csps_engine.loop.prefill_costs import PrefillCosts
from csps_engine.loop.prefill_queue import PrefillTask
from csps_engine.loop.prefill_reporter import PrefillReporter
from csps_engine.loop.prefill_run import COMPUTING, DONE, RankRun, Standing, of_rank, standings
from csps_engine.loop.prefix_reuse import beginning_of
from csps_engine.loop.prompt_pass import PromptPass
from csps_engine.loop.reports import PostEvents
from csps_engine.metrics import Metrics
from csps_engine.model.config import ModelError
from csps_engine.model.llama import Llama
from csps_engine.pipeline.cost import FixedPieces
from csps_engine.pipeline.mode import ModeError
from csps_engine.pipeline.prefill import DEFAULT_CSA, PrefillRunner
from csps_engine.refusal import refuse
from csps_engine.scheduler.ticks import PrefillOrder, Tick
from csps_engine.transfer.push_sink import PushSink
from csps_engine.transfer.transport import Access
from csps_engine.wire.generated import Reservation

PASS_TOKENS = {"cpu": 64, "cuda": 512}
"""With fewer tokens a pass is bound by reading weights, so that short prompts are worth computing together."""
POLL_SECONDS = 0.05
"""How long a tick waits for the pool when nothing is left to compute."""


@dataclass(frozen=True, slots=True)
class PrefillPolicy:
    """How a group computes prompts whose requests don't say."""

    mode: PrefillMode = "auto"
    sparse: CsaSettings | None = None
    """None: attention is exact."""
    layer_limit_seconds: float = math.inf
    """Longer than this no part of the group may be at one layer, for the others wait for it in every tick."""


class PrefillWork:
    """See EpochWork. `add`, `cancel` and `settle` run on the engine thread of the coordinator."""

    def __init__(
        self, model: Llama, policy: PrefillPolicy, shape: KvShape, access: Access, metrics: Metrics, post: PostEvents
    ) -> None:
        self._model = model
        self._policy = policy
        self._shape = shape
        self._access = access
        self._metrics = metrics
        self._reporter = PrefillReporter(metrics, post)
        self._costs = PrefillCosts(model, policy.mode, policy.sparse)
        passes = Passes(PASS_TOKENS.get(model.device.type, 0), sparse=policy.mode != "allToAll")
        self._book = PrefillBook(self._costs, model.config.layers, policy.layer_limit_seconds, passes)
        self._runs: dict[str, RankRun] = {}
        """The same ones, in the same order, on every rank."""
        self._epoch: Epoch | None = None
        self._mesh: Mesh | None = None
        self._fresh = False
        self._settling = False
        self._closed: frozenset[str] = frozenset()
        self.load = Load()

    @property
    def meter(self) -> LoadMeter:
        return self._reporter.meter

    def add(self, task: PrefillTask) -> None:
        """Queue a prompt; raises Refused. Its events follow on the board."""
        if self._epoch is None or not self._epoch.coordinates:
            raise refuse("not_ready", "this rank coordinates no epoch now", 500)
        # Asked anew under the same name, with other tokens or pages: the older one is nobody's.
        self._book.queue.remove(task.request_id)
        self._book.leave(task.request_id)
        self._book.queue.add(task)
        self._count()

    def cancel(self, request_id: str) -> bool:
        """Forget a prompt; one that is being computed ends between two layers. False: another rank may have it."""
        known = self._book.queue.remove(request_id) or self._book.leave(request_id)
        if known:
            self._reporter.failed(request_id, "unknown_request", "the prefill was cancelled")
            self._count()
        return known or (self._epoch is not None and self._epoch.coordinates)

    def settle(self) -> bool:
        """Begin nothing new in this epoch; whether everything that was begun has ended."""
        self._settling = True
        return not self._book.running

    def start_epoch(self, epoch: Epoch, mesh: Mesh) -> None:
        self._epoch, self._mesh = epoch, mesh
        self._settling = False
        self._costs.start_epoch(epoch)
        # All links at once, before parts of the mesh use some of them.
        gather_numbers(mesh, [epoch.number])
        if not epoch.coordinates:
            self.give_up("another rank coordinates the group now")
        self._fresh = True

    def next_tick(self) -> Tick | None:
        epoch, now = self._epoch, time.monotonic()
        assert epoch is not None
        for late in self._book.queue.take_late(now):
            self._reporter.failed(
                late.request_id, "deadline_exceeded", "the deadline passed while the prompt was queued"
            )
        for late in self._book.late(now):
            self._book.leave(late.request_id)
            self._reporter.failed(late.request_id, "deadline_exceeded", "the deadline passed during the prefill")
        if self._fresh and not self._book.queue:
            # The first tick of an epoch shows everyone that it stands, without waiting for the heartbeat.
            self._fresh = False
            return Tick("idle")
        if self._book.wants_measuring(len(epoch.members)):
            return Tick("idle", measures=True)
        tick = self._book.next_tick(self._open_ranks(epoch), not self._settling, now)
        self._count()
        return tick

    def close_ranks(self, rank_ids: frozenset[str]) -> None:
        """See EpochWork. A rank that computes nothing and pushes nothing holds nothing."""
        self._closed = rank_ids
        self._count()

    def farewell(self) -> dict[str, Any] | None:
        """See EpochWork. What waits here is told when its coordinator is gone."""
        return None

    def next_due(self) -> float | None:
        return self._book.queue.next_deadline()

    def execute(self, tick: Tick) -> None:
        mesh = self._mesh
        assert mesh is not None
        if tick.measures:
            self._costs.measure(mesh)
        elif tick.kind == "prefill":
            self._slice(tick, mesh)
        else:
            mesh.barrier()

    def end_epoch(self, reason: str) -> None:
        for run in self._runs.values():
            run.close()
        self._runs = {}
        for prompt in self._book.forget():
            self._reporter.failed(
                prompt.task.request_id, "epoch_broken", f"the epoch ended during the prefill: {reason}"
            )
        self._epoch = self._mesh = None
        self._count()

    def give_up(self, reason: str) -> None:
        for task in self._book.queue.take_all():
            self._reporter.failed(task.request_id, "epoch_broken", reason)
        self._count()

    def _slice(self, tick: Tick, mesh: Mesh) -> None:
        for request_id in tick.ended:
            self._forget(request_id)
        self._begin(tick.orders, mesh)
        self.load = self._load()
        for advance in tick.advances:
            self._runs[advance.request_id].advance(advance.layers)
        runs = list(self._runs.values())
        for run in runs:
            if run.in_pass:
                run.advance(0)
        if not runs:
            mesh.barrier()
            return
        wait = 0.0 if tick.advances else POLL_SECONDS / len(runs)
        reports = [number for run in runs for number in run.report(wait)]
        found = standings(gather_numbers(mesh, reports, of_rank), len(runs))
        computed = [run for run, at in zip(runs, found, strict=True) if at.state < COMPUTING and not run.told]
        first_tokens = share_first_tokens(mesh, computed) if computed else {}
        for run in computed:
            run.told = True
            if run.result is not None and run.result.sparse is not None:
                self._metrics.sparse_prefill(run.result.sparse)
        by_name = {run.order.request_id: at for run, at in zip(runs, found, strict=True)}
        self._hear(tick, by_name, first_tokens)
        for request_id, at in by_name.items():
            if at.state == DONE or at.failure is not None:
                self._forget(request_id)

    def _begin(self, orders: Sequence[PrefillOrder], mesh: Mesh) -> None:
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

    def _forget(self, request_id: str) -> None:
        run = self._runs.pop(request_id, None)
        if run is not None:
            run.close()
            self._metrics.kv_pushed.inc(run.acknowledged_bytes)

    def _hear(self, tick: Tick, found: dict[str, Standing], tokens: dict[str, FirstToken]) -> None:
        """Coordinator: tell clients how far their prompts are; elsewhere the book is empty."""
        running, reporter = self._book.running, self._reporter
        self._book.heard(tick, found)
        for advance in tick.advances:
            if advance.request_id in running:
                reporter.progressed(running[advance.request_id])
        for request_id, at in found.items():
            prompt = running.get(request_id)
            if prompt is None:
                continue
            prompt.first_token = tokens.get(request_id, prompt.first_token)
            if at.failure is not None:
                del running[request_id]
                refused = at.failure == "bad_request"
                why = (
                    "the group cannot compute the prompt as asked" if refused else "the pool did not take all KV pages"
                )
                reporter.failed(request_id, at.failure, why)
            elif at.state == DONE and self._epoch is not None:
                del running[request_id]
                reporter.succeeded(prompt, self._epoch, at.kv_bytes)
        self._count()

    def _open_ranks(self, epoch: Epoch) -> list[int]:
        """Ranks that new prompts may begin on; all, when every one of them will leave."""
        members = [member.rank_id for member in epoch.members]
        stay = [rank for rank, rank_id in enumerate(members) if rank_id not in self._closed]
        return stay or list(range(len(members)))

    def _count(self) -> None:
        self.load = self._load()
        running_tokens = sum(len(prompt.task.token_ids) for prompt in self._book.running.values())
        self._reporter.load(self.load.running, running_tokens, self._book.queue)

    def _load(self) -> Load:
        running = max(len(self._book.running), len(self._runs))
        return Load(running=running, waiting=len(self._book.queue), emptied=self._emptied())

    def _emptied(self) -> frozenset[str]:
        """Who computes and pushes nothing can go; the coordinator once nothing waits here."""
        epoch = self._epoch
        if epoch is None or not epoch.coordinates:
            return frozenset()
        busy = {rank for prompt in self._book.running.values() for rank in prompt.ranks}
        if self._book.queue or busy:
            busy.add(0)
        return self._closed - {epoch.members[rank].rank_id for rank in busy}
