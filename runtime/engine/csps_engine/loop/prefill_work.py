"""A prefill group's part of an epoch: prompts side by side on parts of its ranks, each pushed to the pool.

The coordinator says in every tick which prompts begin, on which ranks, and how many layers each of them goes on. All
ranks do so, then tell each other how far they are: so ticks are short, a dead rank shows soon, a cancelled prompt is
left between two layers, and ranks that are done with one begin another. The first token is told only after every
rank's pages were acknowledged by their holders; ranks compute other prompts meanwhile.
"""

from __future__ import annotations

import time
from typing import Any

from csps_engine.comm.mesh import Mesh
from csps_engine.core.kvshape import KvShape
from csps_engine.loop.epoch_work import Epoch, Load
from csps_engine.loop.gathering import gather_numbers
from csps_engine.loop.load_meter import LoadMeter
from csps_engine.loop.prefill_book import Passes, PrefillBook
from csps_engine.loop.prefill_costs import PrefillCosts
from csps_engine.loop.prefill_policy import PrefillPolicy
from csps_engine.loop.prefill_queue import PrefillTask
from csps_engine.loop.prefill_reporter import PrefillReporter
from csps_engine.loop.prefill_run import DONE
from csps_engine.loop.rank_runs import Heard, RankRuns
from csps_engine.loop.reports import PostEvents
from csps_engine.metrics import Metrics
from csps_engine.model.llama import Llama
from csps_engine.refusal import refuse
from csps_engine.scheduler.ticks import Tick
from csps_engine.transfer.transport import Access

PASS_TOKENS = {"cpu": 64, "cuda": 512}
"""With fewer tokens a pass is bound by reading weights, so that short prompts are worth computing together."""


class PrefillWork:
    """See EpochWork. `add`, `cancel` and `settle` run on the engine thread of the coordinator."""

    def __init__(
        self, model: Llama, policy: PrefillPolicy, shape: KvShape, access: Access, metrics: Metrics, post: PostEvents
    ) -> None:
        self._reporter = PrefillReporter(metrics, post)
        self._costs = PrefillCosts(model, policy.mode, policy.sparse)
        passes = Passes(PASS_TOKENS.get(model.device.type, 0), sparse=policy.mode != "allToAll")
        self._book = PrefillBook(self._costs, model.config.layers, policy.layer_limit_seconds, passes)
        self._runs = RankRuns(model, policy, shape, access, metrics)
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
        self._runs.end_epoch()
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
        runs = self._runs
        runs.leave(tick.ended)
        runs.begin(tick.orders, mesh)
        self._count()
        if not runs:
            mesh.barrier()
            return
        heard = runs.go_on(tick.advances, mesh)
        self._hear(tick, heard)
        runs.leave(heard.over)
        self._count()

    def _hear(self, tick: Tick, heard: Heard) -> None:
        """Coordinator: tell clients how far their prompts are; elsewhere the book is empty."""
        running, reporter = self._book.running, self._reporter
        self._book.heard(tick, heard.standings)
        for advance in tick.advances:
            if advance.request_id in running:
                reporter.progressed(running[advance.request_id])
        for request_id, at in heard.standings.items():
            prompt = running.get(request_id)
            if prompt is None:
                continue
            prompt.first_token = heard.first_tokens.get(request_id, prompt.first_token)
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

    def _open_ranks(self, epoch: Epoch) -> list[int]:
        """Ranks that new prompts may begin on; all, when every one of them will leave."""
        members = [member.rank_id for member in epoch.members]
        stay = [rank for rank, rank_id in enumerate(members) if rank_id not in self._closed]
        return stay or list(range(len(members)))

    def _count(self) -> None:
        running = max(len(self._book.running), len(self._runs))
        self.load = Load(running=running, waiting=len(self._book.queue), emptied=self._emptied())
        running_tokens = sum(len(prompt.task.token_ids) for prompt in self._book.running.values())
        self._reporter.load(running, running_tokens, self._book.queue)

    def _emptied(self) -> frozenset[str]:
        """Who computes and pushes nothing can go; the coordinator once nothing waits here."""
        epoch = self._epoch
        if epoch is None or not epoch.coordinates:
            return frozenset()
        busy = {rank for prompt in self._book.running.values() for rank in prompt.ranks}
        if self._book.queue or busy:
            busy.add(0)
        return self._closed - {epoch.members[rank].rank_id for rank in busy}
