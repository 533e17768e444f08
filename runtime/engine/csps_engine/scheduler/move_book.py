"""The coordinator's book of moves.

    begin     lease slots on the target, tell the members (they copy in the background)
    progress  the source's word, asked for between steps
    ready     all full pages are copied: commit by compare-and-set on the request's map version
    commit    after the tick in which every member switched: only now are the source's slots free

Whatever goes wrong before the commit (the request ends, the deadline, a cancel, the end of the epoch) ends the move:
the leased slots are freed and the request stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from csps_engine.core.plan import PAGE_TOKENS
from csps_engine.refusal import refuse
from csps_engine.scheduler.move import Move, MoveAsk, MoveCommit, MovePhase, MoveProgress, MoveTicket
from csps_engine.scheduler.pool_book import PoolBook
from csps_engine.scheduler.request import PoolRequest, pages_for
from csps_engine.scheduler.tick_terms import mesh_numbers

KEPT_SECONDS = 600.0
KEPT_MOVES = 4096

Ended = Callable[[Move], None]


class MoveBook:
    """Not thread-safe: the engine thread owns it, as it owns the pool's book. Times are the caller's seconds."""

    def __init__(self, pool: PoolBook, page_bytes: int, on_ended: Ended = lambda _: None) -> None:
        self._pool = pool
        self._page_bytes = page_bytes
        self._on_ended = on_ended
        self._moves: dict[str, Move] = {}
        self._untold: list[Move] = []
        self._dropped: list[str] = []
        self._committing: list[Move] = []
        self._fence = 0

    @property
    def moves(self) -> Iterable[Move]:
        """Under way and lately ended, oldest first."""
        return self._moves.values()

    @property
    def copying(self) -> list[Move]:
        return [move for move in self._moves.values() if move.phase == "copying"]

    @property
    def fence(self) -> int:
        """The highest that was seen."""
        return self._fence

    def begin(self, ask: MoveAsk, now: float) -> Move:
        """The same move id again gives the same move. Raises Refused for a stale fence alone."""
        self._check_fence(ask.fence)
        known = self._moves.get(ask.move_id)
        if known is not None:
            return known
        self._forget(now)
        move = self._moves[ask.move_id] = Move(ask, now, map_version=ask.map_version)
        obstacle = self._obstacle(ask)
        slots = None if obstacle else self._pool.ledger.lease(ask.move_id, ask.target, ask.pages)
        if slots is None:
            free = (
                "" if obstacle else f"pages: {ask.pages} are needed, {ask.target} has {self._pool.free_of(ask.target)}"
            )
            self._end(move, "refused", obstacle or free, now)
            return move
        move.slots = slots
        tokens = self._pool.requests[ask.request_id].position
        written = min(ask.pages, max(0, pages_for(tokens) - ask.first_page))
        move.total_bytes = written * self._page_bytes
        self._untold.append(move)
        return move

    def cancel(self, move_id: str, fence: int, now: float) -> Move:
        """A move that is over stays as it is. Raises Refused for a stale fence or an unknown move."""
        self._check_fence(fence)
        move = self._moves.get(move_id)
        if move is None:
            raise refuse("unknown_request", f"moveId: {move_id} is not known here")
        if move.phase == "copying":
            self._drop(move, "cancelled", "it was cancelled", now)
        return move

    def request_ended(self, request_id: str, now: float) -> None:
        """To be called before the request's pages are freed."""
        for move in self.copying:
            if move.ask.request_id == request_id:
                self._drop(move, "failed", f"request {request_id} ended", now)

    def epoch_ended(self, reason: str, now: float) -> None:
        """To be called before the next epoch starts: no move outlives its epoch."""
        for move in self.copying:
            self._drop(move, "failed", f"the epoch ended: {reason}", now)
        self._untold, self._dropped, self._committing = [], [], []

    def note(self, move_id: str, progress: MoveProgress, now: float) -> None:
        """Take the source's word."""
        move = self._moves[move_id]
        if move.phase != "copying":
            return
        move.copied_pages, move.copied_bytes = progress.copied_pages, progress.copied_bytes
        if progress.failed:
            self._drop(move, "failed", f"{move.ask.source} could not copy the pages to {move.ask.target}", now)

    def expire(self, now: float) -> None:
        """End what is late."""
        for move in self.copying:
            if now >= move.deadline:
                self._drop(move, "failed", f"it took longer than {move.ask.deadline_ms} ms", now)

    def next_deadline(self) -> float | None:
        return min((move.deadline for move in self.copying), default=None)

    def take_tickets(self, now: float) -> tuple[MoveTicket, ...]:
        """Moves that the members don't know yet."""
        numbers = mesh_numbers(self._pool)
        untold, self._untold = self._untold, []
        return tuple(
            MoveTicket(
                move_id=move.ask.move_id,
                request_id=move.ask.request_id,
                source=numbers[move.ask.source],
                target=numbers[move.ask.target],
                first_page=move.ask.first_page,
                slots=move.slots,
                tokens=self._pool.requests[move.ask.request_id].position,
                bytes_per_second=move.ask.bytes_per_second,
                budget_ms=max(1, int(1000 * (move.deadline - now))),
                takes_home=move.ask.takes_home,
            )
            for move in untold
        )

    def take_dropped(self) -> tuple[str, ...]:
        """Moves that the members know and that ended without a commit."""
        dropped, self._dropped = self._dropped, []
        return tuple(dropped)

    def take_commits(self, now: float) -> tuple[MoveCommit, ...]:
        """Moves whose full pages are all copied. At most one a request, for each changes its map.

        A page that several requests share moves for all of them, so it changes the maps of all.
        """
        changing = {request_id for move in self._committing for request_id in self._changed_by(move)}
        commits: list[MoveCommit] = []
        for move in self.copying:
            if move in self._untold or move in self._committing:
                continue
            request = self._pool.requests[move.ask.request_id]
            if request.map_version != move.ask.map_version:
                self._drop(move, "failed", _other_version(request, move.ask), now)
            elif move.copied_pages >= self._full_pages(move, request) and changing.isdisjoint(self._changed_by(move)):
                changing |= self._changed_by(move)
                self._committing.append(move)
                commits.append(MoveCommit(move.ask.move_id, move.copied_pages, request.position))
        return tuple(commits)

    def confirm(self, stall_seconds: float, now: float) -> list[PoolRequest]:
        """The tick with the commits is over on every member. Returns the requests whose map changed."""
        committing, self._committing = self._committing, []
        changed: list[PoolRequest] = []
        for move in committing:
            ask = move.ask
            maps = self._pool.move_pages(ask.move_id, ask.request_id, ask.first_page, ask.takes_home)
            move.map_version = maps[0].map_version
            move.copied_bytes, move.stall_seconds = move.total_bytes, stall_seconds
            self._end(move, "committed", "", now)
            changed += maps
        return changed

    def _obstacle(self, ask: MoveAsk) -> str:
        """Why a move can't be; empty when it can."""
        request = self._pool.requests.get(ask.request_id)
        if request is None:
            return f"requestId: {ask.request_id} holds no pages in this pool"
        for field, rank, incarnation in (
            ("from", ask.source, ask.source_incarnation),
            ("to", ask.target, ask.target_incarnation),
        ):
            member = self._pool.members.get(rank)
            if member is None or member.incarnation != incarnation:
                return f"{field}: {rank} of incarnation {incarnation} is not in the pool"
        if ask.source == ask.target:
            return f"to: {ask.target} is also the source"
        if ask.target in self._pool.closed:
            return f"to: {ask.target} is draining"
        if request.map_version != ask.map_version:
            return _other_version(request, ask)
        if not request.settled:
            return f"requestId: the KV of the prompt of {ask.request_id} is not complete yet"
        return _wrong_pages(request, ask)

    def _changed_by(self, move: Move) -> set[str]:
        ask = move.ask
        pages = self._pool.requests[ask.request_id].pages[ask.first_page : ask.first_page + ask.pages]
        return {ask.request_id} | self._pool.sharers(pages)

    def _full_pages(self, move: Move, request: PoolRequest) -> int:
        return min(move.ask.pages, max(0, request.position // PAGE_TOKENS - move.ask.first_page))

    def _drop(self, move: Move, phase: MovePhase, reason: str, now: float) -> None:
        self._pool.ledger.unlease(move.ask.move_id)
        if move in self._untold:
            self._untold.remove(move)
        else:
            self._dropped.append(move.ask.move_id)
        self._end(move, phase, reason, now)

    def _end(self, move: Move, phase: MovePhase, reason: str, now: float) -> None:
        move.phase, move.reason, move.ended_at = phase, reason, now
        self._on_ended(move)

    def _forget(self, now: float) -> None:
        over = [move for move in self._moves.values() if move.phase != "copying"]
        surplus = max(0, len(self._moves) - KEPT_MOVES)
        for number, move in enumerate(over):
            if number < surplus or now - move.ended_at > KEPT_SECONDS:
                del self._moves[move.ask.move_id]

    def _check_fence(self, fence: int) -> None:
        if fence < self._fence:
            raise refuse("stale_fence", f"fence: {fence} is lower than {self._fence}, which was seen already")
        self._fence = fence


def _other_version(request: PoolRequest, ask: MoveAsk) -> str:
    return f"mapVersion: {request.request_id} is at version {request.map_version}, not {ask.map_version}"


def _wrong_pages(request: PoolRequest, ask: MoveAsk) -> str:
    if ask.pages == 0:
        moves_home = ask.takes_home and request.home == ask.source
        return "" if moves_home else f"pages: 0 pages move nothing but a home, and {ask.source} is not the home"
    held = request.pages[ask.first_page : ask.first_page + ask.pages]
    if len(held) < ask.pages:
        return f"firstPage, pages: {request.request_id} has {len(request.pages)} pages"
    strangers = Counter(rank for rank, _ in held if rank != ask.source)
    return f"from: {strangers.most_common(1)[0][0]} holds some of these pages" if strangers else ""
