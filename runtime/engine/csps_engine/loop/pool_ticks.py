"""What a pool's coordinator says in each tick.

The first tick of an epoch tells everything; later ones what has changed. Every running request has a row in every step.
"""

from __future__ import annotations

from csps_engine.loop.pool_requests import PoolRequests
from csps_engine.scheduler.tick_terms import admitted, closed_numbers, holding_of, rows_of
from csps_engine.scheduler.ticks import Tick


class PoolTicks:
    """The engine thread of the coordinator owns it."""

    def __init__(self, requests: PoolRequests, max_batch: int) -> None:
        self._requests = requests
        self._max_batch = max_batch
        self._sync = False
        self._tell_closed = False

    def start_epoch(self) -> None:
        """Nobody knows anything yet."""
        self._sync = True

    def close_ranks(self, rank_ids: frozenset[str]) -> None:
        """See EpochWork."""
        self._tell_closed |= rank_ids != self._requests.book.closed
        self._requests.book.closed = rank_ids

    def next(self, now: float) -> Tick | None:
        """Decide what members do now; None when there is nothing to say."""
        requests, book, line = self._requests, self._requests.book, self._requests.reservations
        requests.serve(now)
        moves = requests.moves.next(now)
        new = line.take_new()
        sync, tell_closed = self._sync, self._sync or self._tell_closed
        self._sync = self._tell_closed = False
        rows = rows_of(book, self._max_batch)
        tick = Tick(
            "decode" if rows else "idle",
            sync=sync,
            ended=requests.take_ended(),
            held=tuple(holding_of(book, r) for r in (book.requests if sync else new) if r in book.requests),
            admitted=admitted(book),
            rows=rows,
            tickets=moves.tickets,
            dropped=moves.dropped,
            commits=moves.commits,
            asks_moves=moves.asks,
            closed=closed_numbers(book) if tell_closed else None,
        )
        says = tell_closed or rows or tick.held or tick.admitted or tick.ended or line.unconfirmed or moves
        return tick if says else None

    def next_due(self) -> float | None:
        """When there will be something to say without a command."""
        requests = self._requests
        due = (requests.book.next_lease_end(), requests.reservations.next_deadline(), requests.moves.next_due())
        return min((at for at in due if at is not None), default=None)
