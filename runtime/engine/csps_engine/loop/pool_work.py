"""A decode pool's part of an epoch: reservations, admission, continuous batching.

Every running request has a row in every step. A reservation is answered only after a tick carried it to all
members, so KV that comes at once is expected everywhere. A request is decoded only after every holder said
that the prompt's KV is complete: an answer never comes from half a context.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import Any

import torch

from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import StepPlan, StepResult
from csps_engine.kv.pool import KvPool
from csps_engine.loop.epoch_work import Epoch, Load
from csps_engine.loop.pool_reporter import PoolReporter
from csps_engine.model.llama import Llama
from csps_engine.pipeline.contracts import Decode
from csps_engine.pipeline.decode import DecodeRunner
from csps_engine.refusal import Refused, refuse
from csps_engine.scheduler.pool_book import NoPages, PoolBook, PoolMember
from csps_engine.scheduler.replica import Replica
from csps_engine.scheduler.request import DecodeOrder, PoolRequest
from csps_engine.scheduler.ticks import Tick
from csps_engine.wire.generated import Failure, FailureCode


class PoolWork:
    """See EpochWork. The public verbs (reserve, begin, cancel) run on the engine thread of the coordinator."""

    def __init__(self, model: Llama, pool: KvPool, replica: Replica, reporter: PoolReporter, max_batch: int) -> None:
        self._model = model
        self._pool = pool
        self._replica = replica
        self._reporter = reporter
        self._max_batch = max_batch
        self._closed: frozenset[str] = frozenset()
        self._book = PoolBook()
        self._epoch: Epoch | None = None
        self._mesh: Mesh | None = None
        self._runner: Decode | None = None
        self._sync = False
        self._ended: list[str] = []
        self._new: list[str] = []
        self._unconfirmed: list[tuple[Future[Any], PoolRequest]] = []
        self.load = Load(pages_total=pool.slots, pages_free=pool.slots)

    def reserve(self, request_id: str, prompt_tokens: int, max_new_tokens: int, lease_ms: int) -> Future[PoolRequest]:
        """Resolves once every member knows the reservation; raises Refused."""
        self._require_epoch()
        known = self._book.requests.get(request_id)
        lengths = (prompt_tokens, max_new_tokens)
        if known is not None and (known.prompt_tokens, known.max_new_tokens) != lengths:
            if known.phase == "decoding":
                raise refuse("bad_request", f"requestId: {request_id} is being decoded with other lengths")
            self._drop(request_id)
        answer = self._book.reserve(request_id, *lengths, time.monotonic() + lease_ms / 1000)
        if isinstance(answer, NoPages):
            raise Refused(
                Failure(
                    code="out_of_pages",
                    message=f"{answer.missing + answer.free} KV pages are needed, {answer.free} are free",
                    missing_pages=answer.missing,
                    free_pages=answer.free,
                    retry_after_ms=500,
                )
            )
        future: Future[PoolRequest] = Future()
        if self._book.requests.get(request_id) is not known:
            self._new.append(request_id)
            self._reporter.held(answer)
        self._unconfirmed.append((future, answer))
        self._count()
        return future

    def begin(self, request_id: str, prompt_tokens: int, order: DecodeOrder) -> None:
        """Start decoding a reservation; raises Refused. Its events follow on the board."""
        self._require_epoch()
        request = self._book.requests.get(request_id)
        if request is None or request.phase == "decoding":
            raise refuse("unknown_request", f"requestId: {request_id} holds no reservation in this pool")
        if prompt_tokens != request.prompt_tokens:
            raise refuse("bad_request", f"promptTokens: {request.prompt_tokens} were reserved, not {prompt_tokens}")
        if order.max_new_tokens > request.max_new_tokens:
            raise refuse("bad_request", f"maxNewTokens: only {request.max_new_tokens} were reserved")
        reason = self._book.begin(request_id, order)
        if reason is not None:
            self._finish(request, reason)
        self._count()

    def cancel(self, request_id: str) -> None:
        """Free a request's pages; its stream, if any, ends as cancelled."""
        request = self._book.requests.get(request_id)
        if request is not None:
            self._finish(request, "cancelled")
            self._count()

    def close_rank(self, rank_ids: frozenset[str]) -> None:
        """Place no new pages on these ranks."""
        self._closed = self._book.closed = rank_ids

    def start_epoch(self, epoch: Epoch, mesh: Mesh) -> None:
        self._epoch, self._mesh, self._sync = epoch, mesh, True
        self._runner = DecodeRunner(self._model, mesh, self._pool)
        self._ended, self._new = [], []
        pages = _gather(mesh, [self._pool.slots])
        members = [
            PoolMember(member.rank_id, member.incarnation, count)
            for member, (count,) in zip(epoch.members, pages, strict=True)
        ]
        self._book.closed = self._closed
        if epoch.coordinates:
            for request_id in self._book.start_epoch(epoch.number, members):
                self._reporter.failed(request_id, "lost_pages", "a rank that held KV of this request is gone")
                self._reporter.freed(request_id)
        else:
            self._abandon("epoch_broken", "another rank coordinates the pool now")
        self._count()

    def next_tick(self) -> Tick | None:
        for request_id in self._book.expired(time.monotonic()):
            self._drop(request_id)
        book, sync = self._book, self._sync
        held = tuple(book.holding(r) for r in (book.requests if sync else self._new) if r in book.requests)
        rows = book.rows(self._max_batch)
        admitted = tuple(book.unchecked())
        tick = Tick("decode" if rows else "idle", "", sync, tuple(self._ended), held, admitted, rows)
        if not (sync or rows or held or admitted or self._ended or self._unconfirmed):
            return None
        self._sync, self._ended, self._new = False, [], []
        return tick

    def next_due(self) -> float | None:
        return self._book.next_lease_end()

    def execute(self, tick: Tick) -> None:
        mesh, runner = self._mesh, self._runner
        assert mesh is not None
        assert runner is not None
        unconfirmed, self._unconfirmed = self._unconfirmed, []
        try:
            self._replica.apply(tick, mesh.rank)
            if tick.admitted:
                self._check_complete(tick.admitted, mesh)
            if tick.rows:
                tables = {row.request_id: self._replica.table(row.request_id, row.position) for row in tick.rows}
                self._settle(tick, runner.step(StepPlan(tick.rows), tables))
            elif not tick.admitted:
                mesh.barrier()
        except BaseException:
            self._unconfirmed = unconfirmed + self._unconfirmed
            raise
        for future, request in unconfirmed:
            future.set_result(request)
        self._count()

    def end_epoch(self, reason: str) -> None:
        for future, request in self._unconfirmed:
            self._drop(request.request_id)
            future.set_exception(refuse("epoch_broken", f"the epoch ended: {reason}", 500))
        self._unconfirmed = []
        self._epoch = self._mesh = self._runner = None
        self._count()

    def give_up(self, reason: str) -> None:
        self._abandon("epoch_broken", reason)
        self._count()

    def _check_complete(self, admitted: tuple[str, ...], mesh: Mesh) -> None:
        """Ask every holder whether it has all KV of the prompts; collective."""
        missing = _gather(mesh, [self._replica.missing_pages(request_id) for request_id in admitted])
        if self._epoch is None or not self._epoch.coordinates:
            return
        for index, request_id in enumerate(admitted):
            request = self._book.requests.get(request_id)
            pages = sum(counts[index] for counts in missing)
            if request is None:
                continue
            if pages:
                self._reporter.failed(request_id, "lost_pages", f"{pages} pages of the prompt's KV did not arrive")
                self._drop(request_id)
            else:
                request.checked = True

    def _settle(self, tick: Tick, result: StepResult) -> None:
        """Coordinator: hand out the step's tokens."""
        if self._epoch is None or not self._epoch.coordinates:
            return
        for row in tick.rows:
            request = self._book.requests.get(row.request_id)
            if request is None:
                continue
            token = result.sampled[row.request_id]
            reason = request.advance(token.token_id)
            self._reporter.token(request, token, row.sampling)
            if reason is not None:
                self._finish(request, reason)

    def _finish(self, request: PoolRequest, reason: str) -> None:
        self._reporter.done(request, reason)
        self._drop(request.request_id)

    def _drop(self, request_id: str) -> None:
        """Free the pages here now, and on every member with the next tick."""
        if self._book.end(request_id):
            self._ended.append(request_id)
            self._reporter.freed(request_id)
            if not self._book.requests:
                self._book.check_integrity()

    def _abandon(self, code: FailureCode, message: str) -> None:
        for request_id in list(self._book.requests):
            self._reporter.failed(request_id, code, message)
            self._reporter.freed(request_id)
        self._book = PoolBook()

    def _require_epoch(self) -> None:
        if self._epoch is None or not self._epoch.coordinates:
            raise refuse("not_ready", "this rank coordinates no epoch now", 500)

    def _count(self) -> None:
        running, waiting = self._book.counts()
        held = self._replica.held_pages
        self._reporter.load(running, waiting, held / max(1, self._pool.slots))
        self._reporter.flush()
        coordinates = self._epoch is not None and self._epoch.coordinates
        self.load = Load(
            pages_total=self._pool.slots,
            pages_free=self._pool.slots - held,
            pool_pages_total=self._book.pages_total if coordinates else 0,
            pool_pages_free=self._book.pages_free if coordinates else 0,
            running=running,
            waiting=waiting,
        )


def _gather(mesh: Mesh, numbers: list[int]) -> list[list[int]]:
    """The numbers of every rank, by rank; collective."""
    mine = torch.tensor(numbers, dtype=torch.int64, device=mesh.device)
    every = torch.empty((mesh.size, len(numbers)), dtype=torch.int64, device=mesh.device)
    mesh.all_gather_into(every, mine).wait()
    return [[int(number) for number in row] for row in every.tolist()]
