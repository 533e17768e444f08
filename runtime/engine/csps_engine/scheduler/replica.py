"""A member's copy of the page tables, and the guard of its own slots against late KV.

The engine thread applies ticks; receiver threads write pages. Both hold the same lock, so that a page is never
written after its request or its move ended: the slot may belong to someone else by then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from csps_engine.core.plan import PAGE_TOKENS, PageTable, Place
from csps_engine.refusal import refuse
from csps_engine.scheduler.move import MoveCommit, MoveTicket
from csps_engine.scheduler.request import pages_for
from csps_engine.scheduler.ticks import Holding, Tick


@dataclass(frozen=True, slots=True)
class IncomingPage:
    """A page of a request for a slot of this rank; `tokens` of it are filled."""

    page: int
    slot: int
    tokens: int


@dataclass(slots=True)
class _Entry:
    holding: Holding
    received: dict[int, int] = field(default_factory=dict)
    """Per page of this rank, a bit for each layer received."""
    sealed: bool = False
    """Its decode was asked for: the prompt's pages are read, by others too, and nobody writes to them any more."""


class Replica:
    def __init__(self, layers: int) -> None:
        self._all_layers = (1 << layers) - 1
        self._layers = layers
        self._entries: dict[str, _Entry] = {}
        self._tickets: dict[str, MoveTicket] = {}
        self._lock = threading.Lock()
        self._mesh_rank = 0
        self._held = 0
        self._homes = 0
        self.closed = False
        """The coordinator gives this rank nothing new."""

    def apply(self, tick: Tick, mesh_rank: int) -> None:
        """Take over what a tick says about pages; `mesh_rank` is this rank's number in the epoch."""
        with self._lock:
            self._mesh_rank = mesh_rank
            if tick.closed is not None:
                self.closed = mesh_rank in tick.closed
            if tick.sync:
                self._sync(tick.held)
            else:
                for request_id in tick.ended:
                    self._entries.pop(request_id, None)
                for holding in tick.held:
                    self._entries[holding.request_id] = _Entry(holding)
            for request_id in tick.admitted:
                self._entries[request_id].sealed = True
            for move_id in tick.dropped:
                self._tickets.pop(move_id, None)
            for ticket in tick.tickets:
                self._tickets[ticket.move_id] = ticket
            if tick.sync or tick.ended or tick.held:
                self._count()

    @property
    def tickets(self) -> list[MoveTicket]:
        """Moves under way, in the same order on every member."""
        return list(self._tickets.values())

    def ticket(self, move_id: str) -> MoveTicket:
        return self._tickets[move_id]

    def switch(self, commits: Sequence[MoveCommit]) -> None:
        """Let the pages of committed moves be where they were moved to, for every request that shares them."""
        with self._lock:
            for commit in commits:
                ticket = self._tickets.pop(commit.move_id)
                entry, first = self._entries[ticket.request_id], ticket.first_page
                before = entry.holding.places[first : first + len(ticket.slots)]
                after = [Place(ticket.target, slot) for slot in ticket.slots]
                self._rename(dict(zip(before, after, strict=True)))
                if ticket.takes_home:
                    entry.holding = replace(entry.holding, home=ticket.target)
            self._count()

    def write_moved(
        self, move_id: str, layers: range, pages: Sequence[IncomingPage], store: Callable[[], None]
    ) -> None:
        """Store some layers of some full pages if their move is still under way; raises Refused otherwise."""
        with self._lock:
            ticket = self._tickets.get(move_id)
            if ticket is None or ticket.target != self._mesh_rank:
                raise refuse("unknown_request", f"move {move_id} brings no pages here")
            if not 0 <= layers.start < layers.stop <= self._layers:
                raise refuse("bad_request", f"layers {layers.start} to {layers.stop - 1} are not all of {self._layers}")
            for incoming in pages:
                at = incoming.page - ticket.first_page
                if not 0 <= at < len(ticket.slots) or ticket.slots[at] != incoming.slot:
                    raise refuse(
                        "bad_request", f"page {incoming.page} of move {move_id} is not for slot {incoming.slot}"
                    )
                if incoming.tokens != PAGE_TOKENS:
                    raise refuse("bad_request", f"page {incoming.page} has {incoming.tokens} tokens and is not full")
            store()

    def write(
        self,
        request_id: str,
        version: int,
        layer: int,
        pages: Sequence[IncomingPage],
        store: Callable[[], None],
    ) -> None:
        """Store one layer of some pages if the reservation still stands; raises Refused otherwise."""
        with self._lock:
            entry = self._entry(request_id, version)
            if entry.sealed:
                raise refuse("bad_request", f"the prompt of {request_id} is being decoded: its KV is final")
            for incoming in pages:
                self._check(entry.holding, layer, incoming)
            store()
            for incoming in pages:
                entry.received[incoming.page] = entry.received.get(incoming.page, 0) | (1 << layer)

    def read(
        self, request_id: str, version: int, layer: int, pages: Sequence[IncomingPage], copy: Callable[[], None]
    ) -> None:
        """Copy one layer of pages that a request shares while it still holds them; raises Refused otherwise."""
        with self._lock:
            holding = self._entry(request_id, version).holding
            if not 0 <= layer < self._layers:
                raise refuse("bad_request", f"layer {layer} is not one of {self._layers}")
            for asked in pages:
                if not 0 <= asked.page < holding.shared_pages or asked.tokens != PAGE_TOKENS:
                    raise refuse("bad_request", f"page {asked.page} is not one that {request_id} shares")
                # It may have moved since the reservation was made.
                if holding.places[asked.page] != Place(self._mesh_rank, asked.slot):
                    raise refuse("lost_pages", f"page {asked.page} is not in slot {asked.slot} here any more")
            copy()

    def missing_pages(self, request_id: str) -> int:
        """How many of this rank's pages of the prompt are not complete in every layer."""
        with self._lock:
            entry = self._entries[request_id]
            holding = entry.holding
            return sum(
                1
                for page in range(holding.shared_pages, pages_for(holding.prompt_tokens))
                if holding.places[page].rank == self._mesh_rank and entry.received.get(page, 0) != self._all_layers
            )

    def table(self, request_id: str, length: int) -> PageTable:
        with self._lock:
            return PageTable(self._entries[request_id].holding.places, length)

    @property
    def held_pages(self) -> int:
        """Slots of this rank that some request holds."""
        return self._held

    @property
    def homes(self) -> int:
        """Requests whose dense layers this rank runs."""
        return self._homes

    def slots_of(self, request_id: str, first_page: int, pages: int) -> list[int]:
        """Where consecutive pages are, each on its own rank."""
        with self._lock:
            return [place.slot for place in self._entries[request_id].holding.places[first_page : first_page + pages]]

    def _entry(self, request_id: str, version: int) -> _Entry:
        entry = self._entries.get(request_id)
        if entry is None:
            raise refuse("unknown_request", f"request {request_id} holds no pages here")
        reserved = entry.holding.version
        if reserved != version:
            raise refuse("stale_epoch", f"request {request_id} was reserved in epoch {reserved}, not {version}")
        return entry

    def _count(self) -> None:
        rank, entries = self._mesh_rank, self._entries.values()
        self._held = len({place.slot for e in entries for place in e.holding.places if place.rank == rank})
        self._homes = sum(1 for e in entries if e.holding.home == rank)

    def _sync(self, held: Sequence[Holding]) -> None:
        known, self._entries = self._entries, {}
        self._tickets = {}
        for holding in held:
            old = known.get(holding.request_id)
            same = old is not None and old.holding.version == holding.version
            self._entries[holding.request_id] = replace(old, holding=holding) if old and same else _Entry(holding)

    def _rename(self, moved: Mapping[Place, Place]) -> None:
        for entry in self._entries.values():
            if not moved.keys().isdisjoint(entry.holding.places):
                places = tuple(moved.get(place, place) for place in entry.holding.places)
                entry.holding = replace(entry.holding, places=places)

    def _check(self, holding: Holding, layer: int, incoming: IncomingPage) -> None:
        if not 0 <= layer < self._layers:
            raise refuse("bad_request", f"layer {layer} is not one of {self._layers}")
        if not 0 <= incoming.page < pages_for(holding.prompt_tokens):
            raise refuse("bad_request", f"page {incoming.page} is not one of the prompt's")
        if incoming.page < holding.shared_pages:
            raise refuse("bad_request", f"page {incoming.page} is shared: its KV is here already")
        place = holding.places[incoming.page]
        if place.rank != self._mesh_rank or place.slot != incoming.slot:
            raise refuse("bad_request", f"page {incoming.page} does not belong in slot {incoming.slot} here")
        expected = min(PAGE_TOKENS, holding.prompt_tokens - incoming.page * PAGE_TOKENS)
        if incoming.tokens != expected:
            raise refuse("bad_request", f"page {incoming.page} has {expected} tokens, not {incoming.tokens}")
