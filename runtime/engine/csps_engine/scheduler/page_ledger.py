"""Who has the page slots of a pool: nobody, a move, requests, or the cache of prompts.

A slot is free, leased to a move, held by one request or more, or idle: it holds a page of some earlier prompt under
its key and nobody needs it now. Idle pages count as free, for they give way as soon as their room is asked for, the
longest unused of their rank first.

The key of a page is a hash of all tokens up to its end, so equal keys mean equal KV. A page gets its key when its KV is
complete; nobody writes to it from then on, so any number of requests may hold it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import NamedTuple

from csps_engine.scheduler.pages import PageAllocator


class Page(NamedTuple):
    """Where a page lies, by names that outlive an epoch's rank numbers."""

    rank: str
    slot: int


class KeyedPage(NamedTuple):
    """A page that prompts may share."""

    key: str
    page: Page


class PageLedger:
    """The engine thread owns it."""

    def __init__(self) -> None:
        self._slots: dict[str, PageAllocator] = {}
        self._users: Counter[Page] = Counter()
        """How many requests hold a page; pages that none holds are not in it."""
        self._keys: dict[Page, str] = {}
        self._places: dict[str, Page] = {}
        self._idle: dict[str, OrderedDict[Page, None]] = {}
        """By rank, the longest unused first."""
        self._leases: dict[str, tuple[str, tuple[int, ...]]] = {}
        """Rank and slots by move."""
        self._closed: frozenset[str] = frozenset()
        self.evicted = 0
        """Idle pages that gave way to others, ever since."""

    @property
    def total(self) -> int:
        return sum(slots.total for slots in self._slots.values())

    def total_of(self, rank: str) -> int:
        return self._slots[rank].total

    @property
    def free(self) -> int:
        return sum(self.free_of(rank) for rank in self._slots)

    def free_of(self, rank: str) -> int:
        """Slots that are free or give way."""
        return self._slots[rank].free + len(self._idle[rank])

    @property
    def keyed(self) -> list[KeyedPage]:
        """All pages that prompts may share, the idle ones of each rank in the order in which they give way."""
        idle = [page for pages in self._idle.values() for page in pages]
        held = [page for page in self._keys if page in self._users]
        return [KeyedPage(self._keys[page], page) for page in (*held, *idle)]

    @property
    def keyed_count(self) -> int:
        return len(self._keys)

    def keyed_of(self, rank: str) -> int:
        """Pages of a rank that prompts may share."""
        return sum(1 for page in self._keys if page.rank == rank)

    def users_of(self, page: Page) -> int:
        """Requests that hold a page."""
        return self._users[page]

    def take(self, rank: str, count: int) -> list[Page]:
        """Hand out slots to one request; the caller checks `free_of` first."""
        pages = [Page(rank, slot) for slot in self._take(rank, count)]
        self._users.update(pages)
        return pages

    def borrow(self, keys: Sequence[str]) -> list[Page]:
        """Let one more request hold the pages of the first keys, up to one that is not here or is on a closed rank."""
        pages: list[Page] = []
        for key in keys:
            page = self._places.get(key)
            if page is None or page.rank in self._closed:
                break
            self._idle[page.rank].pop(page, None)
            pages.append(page)
        self._users.update(pages)
        return pages

    def offer(self, keys: Sequence[str], pages: Sequence[Page]) -> None:
        """From now on pages that a request holds may be borrowed. Where a key has a page already, that one stays."""
        for key, page in zip(keys, pages, strict=True):
            if key not in self._places and page not in self._keys:
                self._places[key], self._keys[page] = page, key

    def release(self, pages: Sequence[Page]) -> None:
        """A request holds these no more. The last pages of a prompt give way before those that lead to them."""
        for page in reversed(pages):
            self._users[page] -= 1
            if self._users[page] > 0:
                continue
            del self._users[page]
            if page in self._keys and page.rank not in self._closed:
                self._idle[page.rank][page] = None
            else:
                self._drop(page)

    def lease(self, move_id: str, rank: str, count: int) -> tuple[int, ...] | None:
        """Set slots aside for a move; None when the rank has too few."""
        if self.free_of(rank) < count:
            return None
        slots = tuple(self._take(rank, count))
        self._leases[move_id] = (rank, slots)
        return slots

    def unlease(self, move_id: str) -> None:
        """Give a move's slots back."""
        rank, slots = self._leases.pop(move_id)
        self._slots[rank].release(slots)

    def leased(self, move_id: str) -> tuple[str, int]:
        """Rank and number of a move's slots."""
        rank, slots = self._leases[move_id]
        return rank, len(slots)

    def settle(self, move_id: str, old: Sequence[Page]) -> dict[Page, Page]:
        """Let whoever holds `old` hold the move's slots instead; returns what became of each page."""
        rank, slots = self._leases.pop(move_id)
        moved = {page: Page(rank, slot) for page, slot in zip(old, slots, strict=True)}
        for before, after in moved.items():
            self._users[after] = self._users.pop(before)
            key = self._keys.pop(before, None)
            if key is not None:
                self._keys[after], self._places[key] = key, after
            self._slots[before.rank].release([before.slot])
        return moved

    def close(self, ranks: frozenset[str]) -> None:
        """These ranks leave: their idle pages are forgotten, and nothing of them is borrowed."""
        self._closed = ranks
        for rank in ranks & self._idle.keys():
            for page in self._idle[rank]:
                self._drop(page)
            self._idle[rank].clear()

    def start_epoch(self, totals: Mapping[str, int], kept: Set[str]) -> None:
        """Take over the ranks of a new epoch, of which `kept` hold what they held. Leases end."""
        for move_id in list(self._leases):
            self.unlease(move_id)
        for page in [page for page in self._keys if page.rank not in kept]:
            del self._places[self._keys.pop(page)]
        self._users = Counter({page: users for page, users in self._users.items() if page.rank in kept})
        self._idle = {rank: self._idle[rank] if rank in kept else OrderedDict() for rank in totals}
        self._slots = {rank: self._slots[rank] if rank in kept else PageAllocator(n) for rank, n in totals.items()}

    def restore(self, totals: Mapping[str, int], held: Iterable[Sequence[Page]], keyed: Iterable[KeyedPage]) -> None:
        """Start from what another ledger told; ValueError when a page without a key is held twice."""
        self._slots = {rank: PageAllocator(count) for rank, count in totals.items()}
        self._idle = {rank: OrderedDict() for rank in totals}
        self._leases = {}
        self._users = Counter(page for pages in held for page in pages)
        self._keys = {page: key for key, page in keyed}
        self._places = {key: page for page, key in self._keys.items()}
        for page, users in self._users.items():
            if users > 1 and page not in self._keys:
                raise ValueError(f"{page} is held {users} times and has no key")
        for page in self._keys:
            if page not in self._users:
                self._idle[page.rank][page] = None
        for rank, slots in self._slots.items():
            slots.claim(page.slot for page in {*self._users, *self._keys} if page.rank == rank)
        self.close(self._closed)

    def check(self, held: Iterable[Sequence[Page]]) -> None:
        """AssertionError unless every slot is accounted for exactly once and these are all the requests' pages."""
        users = Counter(page for pages in held for page in pages)
        if any(count > 1 and page not in self._keys for page, count in users.items()):
            raise AssertionError("page slots without a key are lost or held twice")
        if users != self._users:
            raise AssertionError("the users of a page are counted wrongly")
        if {page: key for key, page in self._places.items()} != self._keys:
            raise AssertionError("keys and pages differ")
        for rank, slots in self._slots.items():
            leased = [slot for holder, part in self._leases.values() if holder == rank for slot in part]
            taken = [page.slot for page in (*users, *self._idle[rank]) if page.rank == rank]
            every = sorted([*slots.free_slots(), *leased, *taken])
            if every != list(range(slots.total)) or slots.free != slots.total - len(leased) - len(taken):
                raise AssertionError(f"page slots of {rank} are lost or held twice")
        kept = {page for idle in self._idle.values() for page in idle}
        if kept != self._keys.keys() - users.keys():
            raise AssertionError("a page that nobody holds must have a key, and be idle")

    def _take(self, rank: str, count: int) -> list[int]:
        slots, idle = self._slots[rank], self._idle[rank]
        while slots.free < count and idle:
            page, _ = idle.popitem(last=False)
            self._drop(page)
            self.evicted += 1
        return slots.take(count)

    def _drop(self, page: Page) -> None:
        key = self._keys.pop(page, None)
        if key is not None:
            del self._places[key]
        self._slots[page.rank].release([page.slot])
