"""The coordinator's book of a decode pool: members, their page slots, and the requests that hold them.

All pages that a request may need (prompt and longest answer) are reserved at once, so a running request can
never fail for want of a page. A reservation is freed when its lease ends without a decode. When an epoch ends,
a request survives if every rank that holds one of its pages is still the same incarnation.
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
        self._epoch = 0
        self.closed: frozenset[str] = frozenset()
        """Ranks that drain: they keep what they hold and get nothing new."""

    @property
    def pages_total(self) -> int:
        return sum(slots.total for slots in self._slots.values())

    @property
    def pages_free(self) -> int:
        return sum(slots.free for slots in self._slots.values())

    def free_by_rank(self) -> Mapping[str, int]:
        """Pages that a reservation could have, by rank."""
        return {rank: slots.free for rank, slots in self._slots.items() if rank not in self.closed}

    @property
    def requests(self) -> Mapping[str, PoolRequest]:
        return self._requests

    def start_epoch(self, epoch: int, members: Sequence[PoolMember]) -> list[str]:
        """Take over the members of a new epoch, in mesh order. Returns the requests that lost pages."""
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
        owners = spread_pages(self.free_by_rank(), count)
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
        """Every slot of every member is free or held by exactly one request; AssertionError otherwise."""
        held: dict[str, list[int]] = {rank: [] for rank in self._slots}
        for request in self._requests.values():
            for rank, slot in request.pages:
                held[rank].append(slot)
        for rank, slots in self._slots.items():
            every = sorted([*slots.free_slots(), *held[rank]])
            if every != list(range(slots.total)) or slots.free != slots.total - len(held[rank]):
                raise AssertionError(f"page slots of {rank} are lost or held twice")

    def _homed(self) -> dict[str, int]:
        homed = {rank: 0 for rank in self._members if rank not in self.closed} or dict.fromkeys(self._members, 0)
        for request in self._requests.values():
            if request.home in homed:
                homed[request.home] += 1
        return homed

    def _mesh_numbers(self) -> dict[str, int]:
        return {rank: number for number, rank in enumerate(self._members)}
