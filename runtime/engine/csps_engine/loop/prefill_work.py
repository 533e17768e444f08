"""A prefill group's part of an epoch: one prompt at a time, computed by all ranks and pushed to the pool.

The first token is told only after every rank's pages were acknowledged by their holders. Ranks learn this from
each other in rounds shorter than the collective time-out, so that one slow push does not look like a death. Between
layers they agree on whether to go on: a cancelled prompt, or one whose deadline passed, is not computed to its end.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import Any, get_args

from csps_engine.comm.mesh import Mesh
from csps_engine.core.kvshape import KvShape
from csps_engine.core.plan import AttentionKind, PrefillJob, PrefillMode, PrefillResult, Progress, SparseReport
from csps_engine.csa.settings import CsaSettings
from csps_engine.loop.epoch_work import Epoch, Load
from csps_engine.loop.gathering import gather_numbers
from csps_engine.loop.load_meter import LoadMeter, Queued
from csps_engine.loop.prefill_queue import PrefillQueue, PrefillTask
from csps_engine.loop.reports import PostEvents, error_event, token_event
from csps_engine.metrics import Metrics
from csps_engine.model.config import ModelError
from csps_engine.model.llama import Llama
from csps_engine.pipeline.contracts import Prefill
from csps_engine.pipeline.mode import ModeError
from csps_engine.pipeline.prefill import DEFAULT_CSA, PrefillRunner
from csps_engine.refusal import refuse
from csps_engine.scheduler.ticks import PrefillOrder, Tick
from csps_engine.transfer.push_sink import PushSink
from csps_engine.wire.generated import FailureCode, PrefillDone, PrefillProgress, Reservation, SparseSummary

log = logging.getLogger(__name__)

CODES: tuple[FailureCode, ...] = get_args(FailureCode)
ACKNOWLEDGED, PENDING, FAILED = 0, 1, 2
GO_ON, CANCELLED, LATE = 0, 1, 2
CHECK_SECONDS = 0.02
"""A prompt that is not wanted any more is computed for about so long."""


class PrefillStopped(Exception):
    """Every rank left the prompt after the same layer."""

    def __init__(self, verdict: int) -> None:
        late = verdict == LATE
        super().__init__("the deadline passed during the prefill" if late else "the prefill was cancelled")
        self.code: FailureCode = "deadline_exceeded" if late else "unknown_request"


@dataclass(frozen=True, slots=True)
class PushOutcome:
    """Of all ranks together."""

    kv_bytes: int
    failed: FailureCode | None


@dataclass(frozen=True, slots=True)
class PrefillPolicy:
    """How a group computes prompts whose requests don't say."""

    mode: PrefillMode = "auto"
    sparse: CsaSettings | None = None
    """None: attention is exact."""

    @property
    def attention(self) -> AttentionKind:
        return "dense" if self.sparse is None else "sparse"


class PrefillWork:
    """See EpochWork. `add` and `cancel` run on the engine thread of the coordinator."""

    def __init__(
        self, model: Llama, policy: PrefillPolicy, shape: KvShape, token: str, metrics: Metrics, post: PostEvents
    ) -> None:
        self._model = model
        self._policy = policy
        self._shape = shape
        self._token = token
        self._metrics = metrics
        self._post = post
        self._queue = PrefillQueue()
        self._running: PrefillTask | None = None
        self._epoch: Epoch | None = None
        self._mesh: Mesh | None = None
        self._runner: Prefill | None = None
        self._fresh = False
        self._stopped = ""
        self._taken_at = 0.0
        self._layer_seconds = 0.0
        """Of a token in a layer, lately; 0 before the first prompt."""
        self._closed: frozenset[str] = frozenset()
        self.poll_seconds = 1.0
        self.meter = LoadMeter()
        self.load = Load()

    def add(self, task: PrefillTask) -> None:
        """Queue a prompt; raises Refused. Its events follow on the board."""
        if self._epoch is None or not self._epoch.coordinates:
            raise refuse("not_ready", "this rank coordinates no epoch now", 500)
        self._queue.add(task)
        self._count()

    def stop(self, request_id: str) -> None:
        """Let a prompt that is being computed end between two layers. Any thread."""
        self._stopped = request_id

    def cancel(self, request_id: str) -> None:
        """Forget a waiting prompt; see `stop` for a running one."""
        if self._queue.remove(request_id):
            self._post([(request_id, error_event("unknown_request", "the prefill was cancelled"))])
            self._count()

    def start_epoch(self, epoch: Epoch, mesh: Mesh) -> None:
        self._epoch, self._mesh = epoch, mesh
        self._runner = PrefillRunner(self._model, mesh, self._policy.sparse or DEFAULT_CSA)
        if not epoch.coordinates:
            self.give_up("another rank coordinates the group now")
        self._fresh = True

    def next_tick(self) -> Tick | None:
        now = time.monotonic()
        for late in self._queue.take_late(now):
            self._fail(late.request_id, "deadline_exceeded", "the deadline passed while the prompt was queued")
        task = self._running = self._queue.take_next()
        self._taken_at = now
        self._count()
        if task is None:
            # The first tick of an epoch shows everyone that it stands, without waiting for the heartbeat.
            first, self._fresh = self._fresh, False
            return Tick("idle") if first else None
        order = PrefillOrder(
            request_id=task.request_id,
            token_ids=task.token_ids,
            sampling=task.sampling,
            reservation=task.reservation.to_json().decode(),
            budget_ms=max(1, int(1000 * (task.deadline - now))),
            check_layers=_check_layers(self._layer_seconds * len(task.token_ids)),
            attention=task.attention or self._policy.attention,
        )
        return Tick("prefill", order=order)

    def close_ranks(self, rank_ids: frozenset[str]) -> None:
        """See EpochWork. A rank of a prefill group holds nothing between two prompts."""
        self._closed = rank_ids
        self._count()

    def farewell(self) -> dict[str, Any] | None:
        """See EpochWork. What waits here is told when its coordinator is gone."""
        return None

    def next_due(self) -> float | None:
        return self._queue.next_deadline()

    def execute(self, tick: Tick) -> None:
        mesh = self._mesh
        assert mesh is not None
        if tick.order is None:
            mesh.barrier()
        else:
            self._prefill(tick.order, mesh)

    def end_epoch(self, reason: str) -> None:
        task, self._running = self._running, None
        if task is not None:
            self._fail(task.request_id, "epoch_broken", f"the epoch ended during the prefill: {reason}")
        self._epoch = self._mesh = self._runner = None
        self._count()

    def give_up(self, reason: str) -> None:
        for task in self._queue.take_all():
            self._fail(task.request_id, "epoch_broken", reason)
        self._count()

    def _prefill(self, order: PrefillOrder, mesh: Mesh) -> None:
        deadline = time.monotonic() + order.budget_ms / 1000
        reservation = Reservation.model_validate_json(order.reservation)
        sink = PushSink(reservation, self._shape, self._token, deadline)
        job = PrefillJob(order.request_id, order.token_ids, order.sampling, self._policy.mode, order.attention)
        began = time.monotonic()
        self.load = replace(self.load, running=1)
        try:
            result = self._runner_now().run(job, sink, self._between_layers(order, mesh, deadline))
            compute_ms = 1000 * (time.monotonic() - began)
            sink.finish()
            outcome = self._await_acknowledgement(sink, mesh)
        except (ModeError, ModelError) as error:
            # Raised alike by every rank before its first exchange: the epoch goes on.
            self._end_failed(order.request_id, "bad_request", str(error))
            return
        except PrefillStopped as stopped:
            self._end_failed(order.request_id, stopped.code, str(stopped))
            return
        finally:
            sink.finish()
            self._count()
        self._metrics.kv_pushed.inc(sink.acknowledged_bytes)
        if result.sparse is not None:
            self._metrics.sparse_prefill(result.sparse)
        if sink.failure is not None:
            log.warning("pushing KV of %s failed: %s", order.request_id, sink.failure.message)
        if outcome.failed is not None:
            self._end_failed(order.request_id, outcome.failed, "the decode pool did not take all KV pages")
        else:
            self._succeed(order, result, compute_ms, outcome.kv_bytes)

    def _await_acknowledgement(self, sink: PushSink, mesh: Mesh) -> PushOutcome:
        """Rounds until no rank waits for a holder; links have deadlines, so the rounds end. Collective."""
        while True:
            done = sink.poll(self.poll_seconds)
            failure = sink.failure
            state = FAILED if failure is not None else ACKNOWLEDGED if done else PENDING
            code = CODES.index(failure.code) if failure is not None else 0
            rows = gather_numbers(mesh, [state, code, sink.acknowledged_bytes], _of_rank)
            failed = next((CODES[row[1]] for row in rows if row[0] == FAILED), None)
            if failed is not None or all(row[0] == ACKNOWLEDGED for row in rows):
                return PushOutcome(kv_bytes=sum(row[2] for row in rows), failed=failed)

    def _succeed(self, order: PrefillOrder, result: PrefillResult, compute_ms: float, kv_bytes: int) -> None:
        epoch, task = self._epoch, self._running
        if epoch is None or task is None:
            return
        now, tokens = time.monotonic(), len(order.token_ids)
        self._layer_seconds = compute_ms / 1000 / self._model.config.layers / tokens
        queued = self._taken_at - task.received_at
        self.meter.prefilled(tokens, len(epoch.members), compute_ms / 1000, queued, now)
        self._metrics.prompt_tokens.inc(tokens)
        self._metrics.time_to_first_token.observe(time.monotonic() - task.received_at)
        ranks = [member.rank_id for member in epoch.members]
        done = PrefillDone(
            type="done",
            degree=len(ranks),
            ranks=ranks,
            compute_ms=compute_ms,
            kv_bytes_pushed=kv_bytes,
            sparse=_summary(result.sparse),
        )
        self._post([(order.request_id, token_event(0, result.sampled, order.sampling)), (order.request_id, done)])
        self._running = None
        self._count()

    def _end_failed(self, request_id: str, code: FailureCode, message: str) -> None:
        """Coordinator: end the running prompt's stream; a no-op elsewhere."""
        if self._running is not None:
            self._running = None
            self._fail(request_id, code, message)
            self._count()

    def _between_layers(self, order: PrefillOrder, mesh: Mesh, deadline: float) -> Progress:
        """Tells how far it is, and raises PrefillStopped on every rank alike; collective."""
        coordinates = self._epoch is not None and self._epoch.coordinates

        def report(layers_done: int, layers: int) -> None:
            if coordinates:
                progress = PrefillProgress(type="progress", layers_done=layers_done, layers=layers)
                self._post([(order.request_id, progress)])
            if layers_done == layers or layers_done % order.check_layers:
                return
            verdict = CANCELLED if self._stopped == order.request_id else GO_ON
            if time.monotonic() >= deadline:
                verdict = LATE
            # The coordinator's word counts: clocks and calls differ between ranks.
            agreed = gather_numbers(mesh, [verdict])[0][0]
            if agreed != GO_ON:
                raise PrefillStopped(agreed)

        return report

    def _runner_now(self) -> Prefill:
        assert self._runner is not None
        return self._runner

    def _fail(self, request_id: str, code: FailureCode, message: str) -> None:
        self._metrics.requests_failed.labels(code).inc()
        self._post([(request_id, error_event(code, message))])

    def _count(self) -> None:
        running = 0 if self._running is None else 1
        waiting = len(self._queue)
        self.load = Load(running=running, waiting=waiting, emptied=self._emptied(idle=not running and not waiting))
        self.meter.queued = Queued(self._queue.prompt_tokens, self._queue.oldest)
        self._metrics.running.set(running)
        self._metrics.waiting.set(len(self._queue))

    def _emptied(self, idle: bool) -> frozenset[str]:
        """Between two prompts every member can go; the coordinator once nothing waits here."""
        epoch = self._epoch
        if epoch is None or not epoch.coordinates:
            return frozenset()
        return self._closed if idle else self._closed - {epoch.members[0].rank_id}


def _of_rank(processes: list[list[int]]) -> list[int]:
    """State, code and bytes of a rank's pushes: it waits for, and fails with, any of its processes."""
    states, codes, sizes = zip(*processes, strict=True)
    return [max(states), max(codes), sum(sizes)]


def _check_layers(layer_seconds: float) -> int:
    """So many layers that looking costs little beside them; each of them when their time is not known yet."""
    return max(1, int(CHECK_SECONDS / layer_seconds)) if layer_seconds > 0 else 1


def _summary(report: SparseReport | None) -> SparseSummary | None:
    if report is None:
        return None
    return SparseSummary(
        fetched_bytes=report.fetched_bytes,
        available_bytes=report.available_bytes,
        mass_mean=min(1.0, report.mass_mean),
        mass_p01=report.mass_p01,
    )
