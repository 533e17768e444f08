"""The coordinator's book of a decode pool: members, their page slots, and the requests that hold them.

All pages that a request may need (prompt and longest answer) are reserved at once, so a running request can
never fail for want of a page. A reservation is freed when its lease ends without a decode. When an epoch ends,
a request survives if every rank that holds one of its pages is still the same incarnation. Slots may be leased to
a move: then they belong to no request until its commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from csps_engine.core.plan import DecodeRow, Place
from csps_engine.scheduler.pages import PageAllocator
from csps_engine.scheduler.request import DecodeOrder, EndReason, PoolRequest, pages_for
from csps_engine.scheduler.spread import choose_home, spread_pages
from csps_engine.scheduler.ticks import Holding


@dataclass(frozen=True, slots=True)
class PoolMember:
    rank_id: str
    incarnation: str
    pages: int


@dataclass(frozen=True, slots=True)
class NoPages:
    """Refusal of a reservation."""

    missing: int
    free: int


class PoolBook:
    """Not thread-safe: the engine thread owns it."""

    def __init__(self) -> None:
        self._members: dict[str, PoolMember] = {}
        self._slots: dict[str, PageAllocator] = {}
        self._requests: dict[str, PoolRequest] = {}
        self._leases: dict[str, tuple[str, tuple[int, ...]]] = {}
        """Rank and slots by move."""
        self._epoch = 0
        self.closed: frozenset[str] = frozenset()
        """Ranks that drain: they keep what they hold and get nothing new."""

    @property
    def pages_total(self) -> int:
        return sum(slots.total for slots in self._slots.values())

    @property
    def pages_free(self) -> int:
        return sum(slots.free for slots in self._slots.values())

    @property
    def members(self) -> Mapping[str, PoolMember]:
        """In mesh order, by rankId."""
        return self._members

    @property
    def open_ranks(self) -> list[str]:
        """Ranks that new pages may go to."""
        return [rank for rank in self._members if rank not in self.closed]

    @property
    def open_pages(self) -> int:
        """Pages that requests could have if the pool were empty."""
        return sum(self._slots[rank].total for rank in self.open_ranks)

    def closed_numbers(self) -> tuple[int, ...]:
        """Mesh ranks of the closed members."""
        return tuple(number for rank, number in self._mesh_numbers().items() if rank in self.closed)

    def emptied(self) -> frozenset[str]:
        """Closed members that hold nothing any more."""
        return frozenset(rank for rank in self._members if rank in self.closed and self.is_empty(rank))

    def reserved_prompt_tokens(self) -> int:
        """Prompt tokens of the requests that are not decoding yet."""
        return sum(r.prompt_tokens for r in self._requests.values() if r.phase == "reserved")

    def free_of(self, rank_id: str) -> int:
        """Pages of a member that are neither held nor leased to a move."""
        return self._slots[rank_id].free

    def scanned_pages(self) -> dict[str, int]:
        """Pages with KV of all requests, by rank: what a step reads once their prefills have ended."""
        scanned = dict.fromkeys(self._members, 0)
        for request in self._requests.values():
            for rank, _ in request.pages[: pages_for(request.written_tokens)]:
                scanned[rank] += 1
        return scanned

    def is_empty(self, rank_id: str) -> bool:
        """Whether a member holds no page, no lease and no home."""
        idle = self._slots[rank_id].free == self._slots[rank_id].total
        return idle and all(request.home != rank_id for request in self._requests.values())

    def free_by_rank(self) -> Mapping[str, int]:
        """Pages that a reservation could have, by rank."""
        return {rank: slots.free for rank, slots in self._slots.items() if rank not in self.closed}

    @property
    def requests(self) -> Mapping[str, PoolRequest]:
        return self._requests

    def start_epoch(self, epoch: int, members: Sequence[PoolMember]) -> list[str]:
        """Take over the members of a new epoch, in mesh order. Returns the requests that lost pages.

        Leases end: a move does not outlive its epoch.
        """
        for move_id in list(self._leases):
            self.unlease(move_id)
        present = {member.rank_id: member for member in members}
        kept = {rank: slots for rank, slots in self._slots.items() if present.get(rank) == self._members[rank]}
        lost = [r.request_id for r in self._requests.values() if not r.holders <= kept.keys()]
        for request_id in lost:
            request = self._requests.pop(request_id)
            for rank, slot in request.pages:
                if rank in kept:
                    kept[rank].release([slot])
        self._epoch = epoch
        self._members = present
        self._slots = {m.rank_id: kept.get(m.rank_id) or PageAllocator(m.pages) for m in members}
        for request in self._requests.values():
            if request.home not in present:
                request.home = choose_home(self._homed())
                request.map_version += 1
        return lost

    def reserve(
        self, request_id: str, prompt_tokens: int, max_new_tokens: int, lease_until: float
    ) -> PoolRequest | NoPages:
        """Reserve every page the request may need; asking again with the same numbers renews the lease."""
        known = self._requests.get(request_id)
        if known is not None:
            if (known.prompt_tokens, known.max_new_tokens) == (prompt_tokens, max_new_tokens):
                known.lease_until = max(known.lease_until, lease_until)
                return known
            raise ValueError(f"request {request_id} already holds pages for other lengths")
        count = pages_for(prompt_tokens + max_new_tokens)
        prompt_pages = pages_for(prompt_tokens)
        owners = spread_pages(self.free_by_rank(), self.scanned_pages(), prompt_pages, count - prompt_pages)
        if owners is None:
            free = sum(self.free_by_rank().values())
            return NoPages(missing=count - free, free=free)
        taken = {rank: iter(self._slots[rank].take(owners.count(rank))) for rank in dict.fromkeys(owners)}
        request = PoolRequest(
            request_id=request_id,
            version=self._epoch,
            prompt_tokens=prompt_tokens,
            max_new_tokens=max_new_tokens,
            pages=[(rank, next(taken[rank])) for rank in owners],
            home=choose_home(self._homed()),
            lease_until=lease_until,
        )
        self._requests[request_id] = request
        return request

    def begin(self, request_id: str, order: DecodeOrder) -> EndReason | None:
        return self._requests[request_id].begin(order)

    def end(self, request_id: str) -> bool:
        """Free the pages of a request; False when it is not known."""
        request = self._requests.pop(request_id, None)
        if request is None:
            return False
        for rank, slot in request.pages:
            self._slots[rank].release([slot])
        return True

    def lease(self, move_id: str, rank_id: str, count: int) -> tuple[int, ...] | None:
        """Set slots aside for a move; None when the rank has too few."""
        if self._slots[rank_id].free < count:
            return None
        slots = tuple(self._slots[rank_id].take(count))
        self._leases[move_id] = (rank_id, slots)
        return slots

    def unlease(self, move_id: str) -> None:
        """Give a move's slots back."""
        rank_id, slots = self._leases.pop(move_id)
        self._slots[rank_id].release(slots)

    def move_pages(self, move_id: str, request_id: str, first_page: int, takes_home: bool) -> int:
        """Let a request own the slots leased to a move instead of those it has; returns the new map version."""
        request = self._requests[request_id]
        target, slots = self._leases.pop(move_id)
        span = slice(first_page, first_page + len(slots))
        for rank, slot in request.pages[span]:
            self._slots[rank].release([slot])
        request.pages[span] = [(target, slot) for slot in slots]
        if takes_home:
            request.home = target
        request.map_version += 1
        return request.map_version

    def restore(self, epoch: int, members: Sequence[PoolMember], requests: Sequence[PoolRequest]) -> None:
        """Take over another coordinator's book; a start_epoch follows. ValueError when a slot is held twice."""
        self._epoch, self._leases = epoch, {}
        self._members = {member.rank_id: member for member in members}
        self._slots = {member.rank_id: PageAllocator(member.pages) for member in members}
        self._requests = {request.request_id: request for request in requests}
        for rank, slots in self._slots.items():
            slots.claim(slot for r in requests for holder, slot in r.pages if holder == rank)

    def expired(self, now: float) -> list[str]:
        """Reservations whose lease ended before a decode came."""
        return [r.request_id for r in self._requests.values() if r.phase == "reserved" and r.lease_until <= now]

    def next_lease_end(self) -> float | None:
        return min((r.lease_until for r in self._requests.values() if r.phase == "reserved"), default=None)

    def unchecked(self) -> list[str]:
        """Decodes that wait for every holder's word that their KV is complete."""
        return [r.request_id for r in self._requests.values() if r.phase == "decoding" and not r.checked]

    def rows(self, limit: int) -> tuple[DecodeRow, ...]:
        """The next step: one token of each running request, the oldest requests first."""
        numbers = self._mesh_numbers()
        running = [r for r in self._requests.values() if r.phase == "decoding" and r.checked]
        return tuple(
            DecodeRow(r.request_id, numbers[r.home], r.next_token, r.position, r.order.sampling)
            for r in running[:limit]
            if r.order is not None
        )

    def holding(self, request_id: str) -> Holding:
        """What every member must know of a request, by this epoch's mesh ranks."""
        request, numbers = self._requests[request_id], self._mesh_numbers()
        places = tuple(Place(numbers[rank], slot) for rank, slot in request.pages)
        return Holding(request_id, request.version, request.prompt_tokens, numbers[request.home], places)

    def counts(self) -> tuple[int, int]:
        """(running, waiting): decoding requests, and reservations not yet decoding."""
        decoding = sum(1 for r in self._requests.values() if r.phase == "decoding")
        return decoding, len(self._requests) - decoding

    def check_integrity(self) -> None:
        """Every slot of every member is free, leased or held by exactly one request; AssertionError otherwise."""
        held: dict[str, list[int]] = {rank: [] for rank in self._slots}
        for rank, leased in self._leases.values():
            held[rank].extend(leased)
        for request in self._requests.values():
            for rank, slot in request.pages:
                held[rank].append(slot)
        for rank, slots in self._slots.items():
            every = sorted([*slots.free_slots(), *held[rank]])
            if every != list(range(slots.total)) or slots.free != slots.total - len(held[rank]):
                raise AssertionError(f"page slots of {rank} are lost or held twice")

    def _homed(self) -> dict[str, int]:
        homed = dict.fromkeys(self.open_ranks or self._members, 0)
        for request in self._requests.values():
            if request.home in homed:
                homed[request.home] += 1
        return homed

    def _mesh_numbers(self) -> dict[str, int]:
        return {rank: number for number, rank in enumerate(self._members)}
