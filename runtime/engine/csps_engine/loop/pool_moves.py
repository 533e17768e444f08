"""The coordinator's part in moves: what the next tick says of them, and the emptying of ranks that leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from csps_engine.metrics import Metrics
from csps_engine.scheduler.emptying import plan_emptying
from csps_engine.scheduler.move import Move, MoveAsk, MoveCommit, MoveProgress, MoveTicket
from csps_engine.scheduler.move_book import MoveBook
from csps_engine.scheduler.pool_book import PoolBook
from csps_engine.scheduler.request import PoolRequest

ASK_SECONDS = 0.02
"""How often the sources are asked how far they are, and leaving ranks are looked at."""
RETRY_SECONDS = 1.0
"""After a move of an emptying failed."""


@dataclass(frozen=True, slots=True)
class TickMoves:
    """The next tick's part about moves."""

    tickets: tuple[MoveTicket, ...] = ()
    dropped: tuple[str, ...] = ()
    commits: tuple[MoveCommit, ...] = ()
    asks: bool = False

    def __bool__(self) -> bool:
        return bool(self.tickets or self.dropped or self.commits or self.asks)


class PoolMoves:
    """The engine thread of the coordinator owns it."""

    def __init__(self, pool: PoolBook, page_bytes: int, metrics: Metrics) -> None:
        self._pool = pool
        self._metrics = metrics
        self.book = MoveBook(pool, page_bytes, self._count)
        self._next_ask = 0.0
        self._next_plan = 0.0
        self._retry_at = 0.0
        self._planned = 0
        self._now = 0.0

    def begin(self, ask: MoveAsk, now: float) -> Move:
        """See MoveBook.begin."""
        return self.book.begin(ask, now)

    def next(self, now: float) -> TickMoves:
        """Decide what members do about moves now."""
        self._now = now
        self.book.expire(now)
        self._empty(now)
        tickets = self.book.take_tickets(now)
        commits = self.book.take_commits(now)
        # A home alone needs no copy: its move commits in the tick that tells of it.
        asks = len(self.book.copying) > len(commits) and now >= self._next_ask
        if asks:
            self._next_ask = now + ASK_SECONDS
        return TickMoves(tickets, self.book.take_dropped(), commits, asks)

    def next_due(self) -> float | None:
        """When there will be something to decide without a command."""
        due = [self._next_plan] if self._pool.closed and self._pool.requests else []
        if self.book.copying:
            due.append(self._next_ask)
        return min(due, default=None)

    def note(self, progress: Mapping[str, MoveProgress], now: float) -> None:
        for move_id, one in progress.items():
            self.book.note(move_id, one, now)

    def confirm(self, stall_seconds: float, now: float) -> list[PoolRequest]:
        """See MoveBook.confirm."""
        self._now = now
        return self.book.confirm(stall_seconds, now)

    def _empty(self, now: float) -> None:
        if not self._pool.closed or now < max(self._next_plan, self._retry_at):
            return
        self._next_plan = now + ASK_SECONDS
        busy = {move.ask.request_id for move in self.book.copying}
        for ask in plan_emptying(self._pool, busy, self._planned + 1, self.book.fence):
            self._planned += 1
            self.book.begin(ask, now)

    def _count(self, move: Move) -> None:
        self._metrics.moves.labels(move.phase).inc()
        if move.phase == "committed":
            self._metrics.moved_bytes.inc(move.total_bytes)
            self._metrics.move_stall_seconds.observe(move.stall_seconds)
        elif move.ask.move_id.startswith("drain-"):
            self._retry_at = self._now + RETRY_SECONDS
