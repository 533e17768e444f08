"""A decode pool's part of an epoch: reservations, admission, continuous batching, moves.

Every running request has a row in every step. A reservation is answered only after a tick carried it to all
members, so KV that comes at once is expected everywhere. A request is decoded only after every holder said
that the prompt's KV is complete: an answer never comes from half a context.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import StepPlan, StepResult
from csps_engine.kv.pool import KvPool
from csps_engine.loop.epoch_work import Epoch, Load
from csps_engine.loop.gathering import gather_numbers, smallest
from csps_engine.loop.load_meter import DecodeStep, LoadMeter, Queued
from csps_engine.loop.move_work import MoveWork
from csps_engine.loop.pool_inventory import PoolFacts, describe_move, describe_pool
from csps_engine.loop.pool_moves import PoolMoves
from csps_engine.loop.pool_reporter import PoolReporter
from csps_engine.loop.reservations import Reservations, Wish
from csps_engine.model.llama import Llama
from csps_engine.pipeline.chosen_pages import Reader
from csps_engine.pipeline.contracts import Decode
from csps_engine.pipeline.decode import DecodeRunner
from csps_engine.pipeline.graphed_layers import GraphedLayers
from csps_engine.refusal import refuse
from csps_engine.scheduler.handover import read_handover, write_handover
from csps_engine.scheduler.move import MoveAsk, MoveProgress
from csps_engine.scheduler.pool_book import PoolBook, PoolMember
from csps_engine.scheduler.replica import Replica
from csps_engine.scheduler.request import DecodeOrder, PoolRequest
from csps_engine.scheduler.scan import scanned_tokens
from csps_engine.scheduler.ticks import Tick
from csps_engine.wire.generated import FailureCode, MoveState, PoolInventory

HandOver = Callable[[Sequence[PoolRequest]], None]


@dataclass(frozen=True, slots=True)
class PoolParts:
    """What a pool's rank is made of."""

    model: Llama
    pool: KvPool
    replica: Replica
    reporter: PoolReporter
    moving: MoveWork
    reader: Reader | None = None
    """Chooses what steps read of long requests; None: they read all."""
    graphs: GraphedLayers | None = None
    """Recordings of the model's dense work; None: steps launch each operation."""


class PoolWork:
    """See EpochWork. The public verbs (reserve, begin, cancel, move …) run on the engine thread of the coordinator."""

    def __init__(self, parts: PoolParts, max_batch: int, on_handed_over: HandOver) -> None:
        self._model = parts.model
        self._pool = parts.pool
        self._replica = parts.replica
        self._reporter = parts.reporter
        self._moving = parts.moving
        self._reader, self._graphs = parts.reader, parts.graphs
        self._max_batch = max_batch
        self._on_handed_over = on_handed_over
        self._book = PoolBook()
        self._moves = PoolMoves(self._book, parts.pool.shape.rank_page_bytes(), parts.reporter.metrics)
        self._reservations = Reservations(self._book)
        self._closed: frozenset[str] = frozenset()
        self._epoch: Epoch | None = None
        self._mesh: Mesh | None = None
        self._runner: Decode | None = None
        self._sync = False
        self._tell_closed = False
        self._ended: list[str] = []
        self._joined: dict[tuple[str, str], float] = {}
        self._inherited: dict[str, Any] | None = None
        self._handed_over = False
        self.meter = LoadMeter()
        self.load = Load(pages_total=self._pool.slots, pages_free=self._pool.slots)

    def reserve(self, wish: Wish) -> Future[PoolRequest]:
        """Resolves once every member knows the reservation; raises Refused. While pages lack, it waits in line."""
        self._require_epoch()
        if not self._book.open_ranks:
            raise refuse("draining", "every rank of this pool is leaving", 1000)
        known = self._book.requests.get(wish.request_id)
        if known is not None and (known.prompt_tokens, known.max_new_tokens) != wish.lengths:
            if known.phase == "decoding":
                raise refuse("bad_request", f"requestId: {wish.request_id} is being decoded with other lengths")
            self._drop(wish.request_id)
        future = self._reservations.ask(wish, time.monotonic())
        self._tell_reserved()
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

    def cancel(self, request_id: str) -> bool:
        """Free a request's pages; its stream, if any, ends as cancelled. False: another rank may coordinate it now."""
        self._reservations.cancel(request_id)
        request = self._book.requests.get(request_id)
        if request is not None:
            self._finish(request, "cancelled")
            self._count()
        return request is not None or self._coordinates

    def move(self, ask: MoveAsk) -> MoveState:
        """Begin a move, or tell of one that was begun; raises Refused."""
        self._require_epoch()
        now = time.monotonic()
        return describe_move(self._moves.begin(ask, now), now)

    def cancel_move(self, move_id: str, fence: int) -> MoveState:
        """Raises Refused."""
        self._require_epoch()
        now = time.monotonic()
        return describe_move(self._moves.book.cancel(move_id, fence, now), now)

    def inventory(self) -> PoolInventory:
        """Raises Refused."""
        epoch = self._require_epoch()
        joined = {m.rank_id: self._joined[(m.rank_id, m.incarnation)] for m in epoch.members}
        facts = PoolFacts(epoch, self._pool.shape, self._book, self._moves.book, self.meter, joined)
        return describe_pool(facts, time.monotonic())

    def close_ranks(self, rank_ids: frozenset[str]) -> None:
        """See EpochWork."""
        self._tell_closed |= rank_ids != self._closed
        self._closed = self._book.closed = rank_ids
        self._count()

    def start_epoch(self, epoch: Epoch, mesh: Mesh) -> None:
        self._epoch, self._mesh, self._sync = epoch, mesh, True
        self._runner = DecodeRunner(self._model, mesh, self._pool, self._reader, self._graphs)
        self._moving.start_epoch(epoch, mesh)
        self._ended = []
        pages = gather_numbers(mesh, [self._pool.slots], smallest)
        members = [
            PoolMember(member.rank_id, member.incarnation, count)
            for member, (count,) in zip(epoch.members, pages, strict=True)
        ]
        now = time.monotonic()
        self._joined = {(m.rank_id, m.incarnation): self._joined.get((m.rank_id, m.incarnation), now) for m in members}
        self._book.closed = self._closed
        if epoch.coordinates:
            self._take_over(now)
            for request_id in self._book.start_epoch(epoch.number, members):
                self._reservations.forget(request_id)
                self._reporter.failed(request_id, "lost_pages", "a rank that held KV of this request is gone")
                self._reporter.freed(request_id)
        else:
            self._abandon("epoch_broken", "another rank coordinates the pool now")
        self._inherited = None
        self._count()

    def next_tick(self) -> Tick | None:
        now = time.monotonic()
        for request_id in self._book.expired(now):
            self._drop(request_id)
        self._reservations.serve(now)
        self._tell_reserved()
        book, sync, tell_closed = self._book, self._sync, self._sync or self._tell_closed
        moves = self._moves.next(now)
        new = self._reservations.take_new()
        held = tuple(book.holding(r) for r in (book.requests if sync else new) if r in book.requests)
        rows = book.rows(self._max_batch)
        admitted = tuple(book.unchecked())
        closed = book.closed_numbers() if tell_closed else None
        tick = Tick(
            "decode" if rows else "idle",
            sync=sync,
            ended=tuple(self._ended),
            held=held,
            admitted=admitted,
            rows=rows,
            tickets=moves.tickets,
            dropped=moves.dropped,
            commits=moves.commits,
            asks_moves=moves.asks,
            closed=closed,
        )
        if not (tell_closed or rows or held or admitted or self._ended or self._reservations.unconfirmed or moves):
            return None
        self._sync, self._tell_closed, self._ended = False, False, []
        return tick

    def next_due(self) -> float | None:
        due = (self._book.next_lease_end(), self._reservations.next_deadline(), self._moves.next_due())
        return min((at for at in due if at is not None), default=None)

    def execute(self, tick: Tick) -> None:
        mesh, runner = self._mesh, self._runner
        assert mesh is not None
        assert runner is not None
        if tick.book is not None and not self._coordinates:
            # Kept before anything can fail: the coordinator may be gone before this tick is over here.
            self._inherited = tick.book
        with self._reservations.confirming():
            self._replica.apply(tick, mesh.rank)
            self._moving.follow(tick)
            stall = self._moving.commit(tick.commits) if tick.commits else 0.0
            if tick.asks_moves:
                self._note(self._moving.progress())
            if tick.admitted:
                self._check_complete(tick.admitted, mesh)
            result = self._step(tick, runner) if tick.rows else None
            # Also after new holdings: a step may pass by a process of a rank, and its KV may come at once.
            if tick.held or (result is None and not tick.admitted):
                mesh.barrier()
        # Every member switched: what comes now may use the new map, and the old slots are free.
        for request in self._moves.confirm(stall, time.monotonic()) if self._coordinates else ():
            self._reporter.held(request)
        if result is not None:
            self._settle(tick, result)
        self._handed_over = tick.book is not None and self._coordinates
        self._count()

    def farewell(self) -> dict[str, Any] | None:
        """See EpochWork. What nobody was told yet is not handed over: it is asked for again."""
        epoch = self._epoch
        if epoch is None or epoch.members[0].rank_id not in self._closed or len(epoch.members) == 1:
            return None
        for request_id in self._reservations.give_up(refuse("not_ready", "the coordinator leaves the pool", 500)):
            self._drop(request_id)
        self._ended = []
        return write_handover(self._book, epoch.number, time.monotonic())

    def end_epoch(self, reason: str) -> None:
        self._moves.book.epoch_ended(reason, time.monotonic())
        self._moving.end_epoch()
        if self._handed_over:
            self._handed_over = False
            decoding = [r for r in self._book.requests.values() if r.phase == "decoding"]
            for request in decoding:
                self._reporter.handed_over(request.request_id)
            self._book.restore(0, (), ())
            self._on_handed_over(decoding)
        self._epoch = self._mesh = self._runner = None
        self._count()

    def give_up(self, reason: str) -> None:
        self._abandon("epoch_broken", reason)
        self._count()

    @property
    def _coordinates(self) -> bool:
        return self._epoch is not None and self._epoch.coordinates

    def _step(self, tick: Tick, runner: Decode) -> StepResult:
        tables = {row.request_id: self._replica.table(row.request_id, row.position) for row in tick.rows}
        began = time.monotonic()
        result = runner.step(StepPlan(tick.rows), tables)
        if self._coordinates:
            now = time.monotonic()
            self.meter.stepped(now - began, now)
            if self.meter.wants_sample(now):
                self.meter.sampled(self._sample(tick, now - began), now)
        return result

    def _sample(self, tick: Tick, seconds: float) -> DecodeStep:
        shape = self._pool.shape
        return DecodeStep(
            rows=len(tick.rows),
            context_tokens=sum(row.position for row in tick.rows),
            ranks=len(self._book.members),
            scan_bytes=max(scanned_tokens(self._book).values()) * shape.rank_page_bytes() // shape.page_tokens,
            seconds=seconds,
        )

    def _note(self, progress: dict[str, MoveProgress]) -> None:
        if self._coordinates:
            self._moves.note(progress, time.monotonic())

    def _check_complete(self, admitted: tuple[str, ...], mesh: Mesh) -> None:
        """Ask every holder whether it has all KV of the prompts; collective."""
        missing = gather_numbers(mesh, [self._replica.missing_pages(request_id) for request_id in admitted])
        if not self._coordinates:
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
                self._book.settle(request_id)

    def _settle(self, tick: Tick, result: StepResult) -> None:
        """Coordinator: hand out the step's tokens."""
        if not self._coordinates:
            return
        for row in tick.rows:
            request = self._book.requests.get(row.request_id)
            if request is None:
                continue
            token = result.sampled[row.request_id]
            reason = request.advance(token.token_id)
            self._reporter.token(request, token, row.sampling)
            if row.request_id in result.chosen:
                self._reporter.chosen(row.request_id, result.chosen[row.request_id])
            if reason is not None:
                self._finish(request, reason)

    def _finish(self, request: PoolRequest, reason: str) -> None:
        self._reporter.done(request, reason)
        self._drop(request.request_id)

    def _drop(self, request_id: str) -> None:
        """Free the pages here now, and on every member with the next tick."""
        self._moves.book.request_ended(request_id, time.monotonic())
        if self._book.end(request_id):
            self._ended.append(request_id)
            self._reporter.freed(request_id)
            if not self._book.requests:
                self._book.check_integrity()

    def _take_over(self, now: float) -> None:
        if self._inherited is None:
            return
        handed = read_handover(self._inherited, now)
        self._book.restore(handed.epoch, handed.members, handed.requests, handed.keyed)
        for request in handed.requests:
            self._reporter.taken_over(request)

    def _abandon(self, code: FailureCode, message: str) -> None:
        self._reservations.give_up(refuse(code, message, 500))
        for request_id in list(self._book.requests):
            self._reporter.failed(request_id, code, message)
            self._reporter.freed(request_id)
        self._book.restore(0, (), ())

    def _tell_reserved(self) -> None:
        for request in self._reservations.take_granted():
            self._reporter.held(request)
            self._reporter.reused(request)

    def _require_epoch(self) -> Epoch:
        if self._epoch is None or not self._epoch.coordinates:
            raise refuse("not_ready", "this rank coordinates no epoch now", 500)
        return self._epoch

    def _count(self) -> None:
        running, reserved = self._book.counts()
        held, line = self._replica.held_pages, self._reservations
        waiting = reserved + line.waiting
        self._reporter.load(running, waiting, held / max(1, self._pool.slots))
        self._reporter.kept(self._book.ledger)
        self._reporter.flush()
        self.meter.queued = Queued(self._book.reserved_prompt_tokens() + line.waiting_prompt_tokens, line.oldest)
        coordinates = self._coordinates
        self.load = Load(
            pages_total=self._pool.slots,
            pages_free=self._pool.slots - held,
            pool_pages_total=self._book.pages_total if coordinates else 0,
            pool_pages_free=self._book.pages_free if coordinates else 0,
            running=running,
            waiting=waiting,
            held_pages=held,
            homes=self._replica.homes,
            emptied=self._book.emptied() if coordinates else frozenset(),
            closed=self._replica.closed,
        )
