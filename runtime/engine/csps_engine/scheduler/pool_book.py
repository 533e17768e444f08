"""The coordinator's book of a decode pool: members, their page slots, and the requests that hold them.

All pages that a request may need (prompt and longest answer) are reserved at once, so a running request can
never fail for want of a page. Leading pages of a prompt that some earlier prompt left here are shared instead. A
reservation is freed when its lease ends without a decode. When an epoch ends, a request survives if every rank that
holds one of its pages is still the same incarnation. Slots may be leased to a move: then they belong to no request
until its commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from csps_engine.core.plan import PAGE_TOKENS
from csps_engine.scheduler.page_ledger import KeyedPage, Page, PageLedger
from csps_engine.scheduler.request import DecodeOrder, EndReason, PoolRequest, pages_for
from csps_engine.scheduler.spread import choose_home, spread_pages


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
        self._requests: dict[str, PoolRequest] = {}
        self._closed: frozenset[str] = frozenset()
        self._epoch = 0
        self.ledger = PageLedger()
        """Who has which slot."""

    @property
    def pages_total(self) -> int:
        return self.ledger.total

    @property
    def pages_free(self) -> int:
        """Pages that no request holds; those that are kept for later prompts among them."""
        return self.ledger.free

    @property
    def closed(self) -> frozenset[str]:
        """Ranks that drain: they keep what requests hold and get nothing new."""
        return self._closed

    @closed.setter
    def closed(self, ranks: frozenset[str]) -> None:
        self._closed = ranks
        self.ledger.close(ranks)

    @property
    def members(self) -> Mapping[str, PoolMember]:
        """In mesh order, by rankId."""
        return self._members

    @property
    def requests(self) -> Mapping[str, PoolRequest]:
        return self._requests

    @property
    def open_ranks(self) -> list[str]:
        """Ranks that new pages may go to."""
        return [rank for rank in self._members if rank not in self.closed]

    @property
    def open_pages(self) -> int:
        """Pages that requests could have if the pool were empty."""
        return sum(self.ledger.total_of(rank) for rank in self.open_ranks)

    def emptied(self) -> frozenset[str]:
        """Closed members that hold nothing any more."""
        return frozenset(rank for rank in self._members if rank in self.closed and self.is_empty(rank))

    def free_of(self, rank_id: str) -> int:
        """Pages of a member that are neither held nor leased to a move."""
        return self.ledger.free_of(rank_id)

    def scanned_pages(self) -> dict[str, int]:
        """Pages with KV of all requests, by rank: what a step reads once their prefills have ended."""
        scanned = dict.fromkeys(self._members, 0)
        for request in self._requests.values():
            for rank, _ in request.pages[: pages_for(request.written_tokens)]:
                scanned[rank] += 1
        return scanned

    def is_empty(self, rank_id: str) -> bool:
        """Whether a member holds no page, no lease and no home."""
        idle = self.ledger.free_of(rank_id) == self.ledger.total_of(rank_id)
        return idle and all(request.home != rank_id for request in self._requests.values())

    def free_by_rank(self) -> Mapping[str, int]:
        """Pages that a reservation could have, by rank."""
        return {rank: self.ledger.free_of(rank) for rank in self.open_ranks}

    def start_epoch(self, epoch: int, members: Sequence[PoolMember]) -> list[str]:
        """Take over the members of a new epoch, in mesh order. Returns the requests that lost pages.

        Leases end: a move does not outlive its epoch.
        """
        present = {member.rank_id: member for member in members}
        kept = {rank for rank, member in self._members.items() if present.get(rank) == member}
        lost = [r.request_id for r in self._requests.values() if not r.holders <= kept]
        for request_id in lost:
            self.end(request_id)
        self.ledger.start_epoch({m.rank_id: m.pages for m in members}, kept)
        self._epoch = epoch
        self._members = present
        for request in self._requests.values():
            if request.home not in present:
                request.home = choose_home(self._homed())
                request.map_version += 1
        return lost

    def reserve(
        self,
        request_id: str,
        prompt_tokens: int,
        max_new_tokens: int,
        lease_until: float,
        keys: tuple[str, ...] = (),
    ) -> PoolRequest | NoPages:
        """Reserve every page the request may need; asking again with the same numbers renews the lease.

        `keys` are those of the prompt's full pages, in order; as many of the first as are here are shared.
        """
        known = self._requests.get(request_id)
        if known is not None:
            if (known.prompt_tokens, known.max_new_tokens) == (prompt_tokens, max_new_tokens):
                known.lease_until = max(known.lease_until, lease_until)
                return known
            raise ValueError(f"request {request_id} already holds pages for other lengths")
        # The last token is always computed: the first one of the answer is drawn from what follows it.
        shared = self.ledger.borrow(keys[: (prompt_tokens - 1) // PAGE_TOKENS])
        own = self._spread(shared, pages_for(prompt_tokens), pages_for(prompt_tokens + max_new_tokens))
        if isinstance(own, NoPages):
            self.ledger.release(shared)
            return own
        request = PoolRequest(
            request_id=request_id,
            version=self._epoch,
            prompt_tokens=prompt_tokens,
            max_new_tokens=max_new_tokens,
            pages=[*shared, *own],
            home=choose_home(self._homed()),
            lease_until=lease_until,
            keys=keys[: prompt_tokens // PAGE_TOKENS],
            shared_pages=len(shared),
        )
        self._requests[request_id] = request
        return request

    def _spread(self, shared: Sequence[Page], prompt_pages: int, pages: int) -> list[Page] | NoPages:
        """Slots for what is not shared."""
        scanned, free = self.scanned_pages(), self.free_by_rank()
        for rank, _ in shared:
            scanned[rank] += 1
        owners = spread_pages(free, scanned, prompt_pages - len(shared), pages - prompt_pages)
        if owners is None:
            room = sum(free.values())
            return NoPages(missing=pages - len(shared) - room, free=room)
        taken = {rank: iter(self.ledger.take(rank, owners.count(rank))) for rank in dict.fromkeys(owners)}
        return [next(taken[rank]) for rank in owners]

    def begin(self, request_id: str, order: DecodeOrder) -> EndReason | None:
        return self._requests[request_id].begin(order)

    def settle(self, request_id: str) -> None:
        """All KV of the prompt is here: it may be decoded, and other prompts may share its full pages."""
        request = self._requests[request_id]
        request.checked = True
        if request.order is not None and request.order.shareable:
            self.ledger.offer(request.keys, request.pages[: len(request.keys)])

    def end(self, request_id: str) -> bool:
        """Free the pages of a request; False when it is not known."""
        request = self._requests.pop(request_id, None)
        if request is None:
            return False
        self.ledger.release(request.pages)
        return True

    def sharers(self, pages: Sequence[Page]) -> set[str]:
        """Every request that holds one of these pages."""
        wanted = set(pages)
        return {r.request_id for r in self._requests.values() if not wanted.isdisjoint(r.pages)}

    def move_pages(self, move_id: str, request_id: str, first_page: int, takes_home: bool) -> list[PoolRequest]:
        """Let the slots leased to a move be those of a request's pages, for whoever holds them.

        Returns every request whose map changed, the one that was asked for first.
        """
        request = self._requests[request_id]
        target, count = self.ledger.leased(move_id)
        span = request.pages[first_page : first_page + count]
        others = self.sharers(span) - {request_id}
        moved = self.ledger.settle(move_id, span)
        changed = [request, *(self._requests[other] for other in others)]
        for one in changed:
            one.pages = [moved.get(page, page) for page in one.pages]
            one.map_version += 1
        if takes_home:
            request.home = target
        return changed

    def restore(
        self,
        epoch: int,
        members: Sequence[PoolMember],
        requests: Sequence[PoolRequest],
        keyed: Sequence[KeyedPage] = (),
    ) -> None:
        """Take over another coordinator's book; a start_epoch follows. ValueError when a slot is held wrongly."""
        self._epoch = epoch
        self._members = {member.rank_id: member for member in members}
        self._requests = {request.request_id: request for request in requests}
        self.ledger.restore({m.rank_id: m.pages for m in members}, [r.pages for r in requests], keyed)

    def expired(self, now: float) -> list[str]:
        """Reservations whose lease ended before a decode came."""
        return [r.request_id for r in self._requests.values() if r.phase == "reserved" and r.lease_until <= now]

    def next_lease_end(self) -> float | None:
        return min((r.lease_until for r in self._requests.values() if r.phase == "reserved"), default=None)

    def check_integrity(self) -> None:
        """Every slot is free, leased, kept or held, by several requests only if they share it; AssertionError else."""
        self.ledger.check([request.pages for request in self._requests.values()])

    def _homed(self) -> dict[str, int]:
        homed = dict.fromkeys(self.open_ranks or self._members, 0)
        for request in self._requests.values():
            if request.home in homed:
                homed[request.home] += 1
        return homed
