"""A decode pool's part of an epoch: every member does what ticks say, and the coordinator's book follows.

A reservation is answered only after a tick carried it to all members, so KV that comes at once is expected
everywhere. A request is decoded only after every holder said that the prompt's KV is complete: an answer never comes
from half a context.
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
from csps_engine.loop.load_meter import LoadMeter
from csps_engine.loop.move_work import MoveWork
from csps_engine.loop.pool_inventory import PoolFacts, describe_move, describe_pool
from csps_engine.loop.pool_load import PoolLoad
from csps_engine.loop.pool_reporter import PoolReporter
from csps_engine.loop.pool_requests import PoolRequests
from csps_engine.loop.pool_ticks import PoolTicks
from csps_engine.loop.reservations import Wish
from csps_engine.model.llama import Llama
from csps_engine.pipeline.chosen_pages import Reader
from csps_engine.pipeline.contracts import Decode
from csps_engine.pipeline.decode import DecodeRunner
from csps_engine.pipeline.graphed_layers import GraphedLayers
from csps_engine.refusal import refuse
from csps_engine.scheduler.move import MoveAsk, MoveProgress
from csps_engine.scheduler.pool_book import PoolMember
from csps_engine.scheduler.replica import Replica
from csps_engine.scheduler.request import DecodeOrder, PoolRequest
from csps_engine.scheduler.ticks import Tick
from csps_engine.wire.generated import MoveState, PoolInventory

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
        self._parts = parts
        self._replica, self._moving = parts.replica, parts.moving
        self._on_handed_over = on_handed_over
        self._requests = PoolRequests(parts.pool.shape.rank_page_bytes(), parts.reporter)
        self._ticks = PoolTicks(self._requests, max_batch)
        self._load = PoolLoad(parts.pool, parts.replica, self._requests, parts.reporter)
        self._epoch: Epoch | None = None
        self._mesh: Mesh | None = None
        self._runner: Decode | None = None
        self._joined: dict[tuple[str, str], float] = {}
        self._inherited: dict[str, Any] | None = None
        self._handed_over = False

    @property
    def load(self) -> Load:
        return self._load.counters

    @property
    def meter(self) -> LoadMeter:
        return self._load.meter

    def reserve(self, wish: Wish) -> Future[PoolRequest]:
        """See PoolRequests; raises Refused."""
        self._require_epoch()
        future = self._requests.reserve(wish)
        self._tell()
        return future

    def begin(self, request_id: str, prompt_tokens: int, order: DecodeOrder) -> None:
        """Start decoding a reservation; raises Refused. Its events follow on the board."""
        self._require_epoch()
        self._requests.begin(request_id, prompt_tokens, order)
        self._tell()

    def cancel(self, request_id: str) -> bool:
        """Free a request's pages; its stream, if any, ends as cancelled. False: another rank may coordinate it now."""
        known = self._requests.cancel(request_id)
        if known:
            self._tell()
        return known or self._coordinates

    def move(self, ask: MoveAsk) -> MoveState:
        """Begin a move, or tell of one that was begun; raises Refused."""
        self._require_epoch()
        now = time.monotonic()
        return describe_move(self._requests.moves.begin(ask, now), now)

    def cancel_move(self, move_id: str, fence: int) -> MoveState:
        """Raises Refused."""
        self._require_epoch()
        now = time.monotonic()
        return describe_move(self._requests.moves.book.cancel(move_id, fence, now), now)

    def inventory(self) -> PoolInventory:
        """Raises Refused."""
        epoch, requests = self._require_epoch(), self._requests
        joined = {m.rank_id: self._joined[(m.rank_id, m.incarnation)] for m in epoch.members}
        facts = PoolFacts(epoch, self._parts.pool.shape, requests.book, requests.moves.book, self.meter, joined)
        return describe_pool(facts, time.monotonic())

    def close_ranks(self, rank_ids: frozenset[str]) -> None:
        """See EpochWork."""
        self._ticks.close_ranks(rank_ids)
        self._tell()

    def start_epoch(self, epoch: Epoch, mesh: Mesh) -> None:
        parts = self._parts
        self._epoch, self._mesh = epoch, mesh
        self._runner = DecodeRunner(parts.model, mesh, parts.pool, parts.reader, parts.graphs)
        self._moving.start_epoch(epoch, mesh)
        pages = gather_numbers(mesh, [parts.pool.slots], smallest)
        members = [
            PoolMember(member.rank_id, member.incarnation, count)
            for member, (count,) in zip(epoch.members, pages, strict=True)
        ]
        now = time.monotonic()
        self._joined = {(m.rank_id, m.incarnation): self._joined.get((m.rank_id, m.incarnation), now) for m in members}
        if epoch.coordinates:
            if self._inherited is not None:
                self._requests.take_over(self._inherited, now)
            self._requests.start_epoch(epoch.number, members)
            self._ticks.start_epoch()
        else:
            self._requests.abandon("epoch_broken", "another rank coordinates the pool now")
        self._inherited = None
        self._tell()

    def next_tick(self) -> Tick | None:
        return self._ticks.next(time.monotonic())

    def next_due(self) -> float | None:
        return self._ticks.next_due()

    def execute(self, tick: Tick) -> None:
        mesh, runner = self._mesh, self._runner
        assert mesh is not None
        assert runner is not None
        if tick.book is not None and not self._coordinates:
            # Kept before anything can fail: the coordinator may be gone before this tick is over here.
            self._inherited = tick.book
        with self._requests.reservations.confirming():
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
        if self._coordinates:
            self._requests.confirm_moves(stall)
            if result is not None:
                self._requests.advance(tick.rows, result)
        self._handed_over = tick.book is not None and self._coordinates
        self._tell()

    def farewell(self) -> dict[str, Any] | None:
        """See EpochWork."""
        epoch = self._epoch
        if epoch is None or epoch.members[0].rank_id not in self._requests.book.closed or len(epoch.members) == 1:
            return None
        return self._requests.farewell(epoch.number)

    def end_epoch(self, reason: str) -> None:
        self._requests.moves.book.epoch_ended(reason, time.monotonic())
        self._moving.end_epoch()
        if self._handed_over:
            self._handed_over = False
            self._on_handed_over(self._requests.hand_over())
        self._epoch = self._mesh = self._runner = None
        self._tell()

    def give_up(self, reason: str) -> None:
        self._requests.abandon("epoch_broken", reason)
        self._tell()

    @property
    def _coordinates(self) -> bool:
        return self._epoch is not None and self._epoch.coordinates

    def _step(self, tick: Tick, runner: Decode) -> StepResult:
        tables = {row.request_id: self._replica.table(row.request_id, row.position) for row in tick.rows}
        began = time.monotonic()
        result = runner.step(StepPlan(tick.rows), tables)
        if self._coordinates:
            now = time.monotonic()
            self._load.stepped(tick.rows, now - began, now)
        return result

    def _note(self, progress: dict[str, MoveProgress]) -> None:
        if self._coordinates:
            self._requests.moves.note(progress, time.monotonic())

    def _check_complete(self, admitted: tuple[str, ...], mesh: Mesh) -> None:
        """Ask every holder whether it has all KV of the prompts; collective."""
        missing = gather_numbers(mesh, [self._replica.missing_pages(request_id) for request_id in admitted])
        if self._coordinates:
            pages = [sum(of_ranks) for of_ranks in zip(*missing, strict=True)]
            self._requests.check_complete(dict(zip(admitted, pages, strict=True)))

    def _require_epoch(self) -> Epoch:
        if self._epoch is None or not self._epoch.coordinates:
            raise refuse("not_ready", "this rank coordinates no epoch now", 500)
        return self._epoch

    def _tell(self) -> None:
        """What happened to requests, and how busy that leaves the pool."""
        self._load.count(self._coordinates)
        self._parts.reporter.flush()
