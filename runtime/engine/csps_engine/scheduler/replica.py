"""A member's copy of the page tables, and the guard of its own slots against late KV.

The engine thread applies ticks; receiver threads write pages. Both hold the same lock, so that a page is never
written after its request ended: the slot may belong to someone else by then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from csps_engine.core.plan import PAGE_TOKENS, PageTable
from csps_engine.refusal import refuse
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


class Replica:
    def __init__(self, layers: int) -> None:
        self._all_layers = (1 << layers) - 1
        self._layers = layers
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()
        self._mesh_rank = 0
        self._held = 0

    def apply(self, tick: Tick, mesh_rank: int) -> None:
        """Take over what a tick says about pages; `mesh_rank` is this rank's number in the epoch."""
        with self._lock:
            self._mesh_rank = mesh_rank
            if tick.sync:
                self._sync(tick.held)
            else:
                for request_id in tick.ended:
                    self._entries.pop(request_id, None)
                for holding in tick.held:
                    self._entries[holding.request_id] = _Entry(holding)
            if tick.sync or tick.ended or tick.held:
                self._held = self._count_held()

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
            entry = self._entries.get(request_id)
            if entry is None:
                raise refuse("unknown_request", f"request {request_id} holds no pages here")
            if entry.holding.version != version:
                raise refuse(
                    "stale_epoch",
                    f"request {request_id} was reserved in epoch {entry.holding.version}, not {version}",
                )
            for incoming in pages:
                self._check(entry.holding, layer, incoming)
            store()
            for incoming in pages:
                entry.received[incoming.page] = entry.received.get(incoming.page, 0) | (1 << layer)

    def missing_pages(self, request_id: str) -> int:
        """How many of this rank's pages of the prompt are not complete in every layer."""
        with self._lock:
            entry = self._entries[request_id]
            holding = entry.holding
            return sum(
                1
                for page in range(pages_for(holding.prompt_tokens))
                if holding.places[page].rank == self._mesh_rank and entry.received.get(page, 0) != self._all_layers
            )

    def table(self, request_id: str, length: int) -> PageTable:
        with self._lock:
            return PageTable(self._entries[request_id].holding.places, length)

    @property
    def held_pages(self) -> int:
        """Slots of this rank that some request holds."""
        return self._held

    def _count_held(self) -> int:
        rank = self._mesh_rank
        return sum(1 for e in self._entries.values() for place in e.holding.places if place.rank == rank)

    def _sync(self, held: Sequence[Holding]) -> None:
        known, self._entries = self._entries, {}
        for holding in held:
            old = known.get(holding.request_id)
            same = old is not None and old.holding.version == holding.version
            self._entries[holding.request_id] = _Entry(holding, old.received if old is not None and same else {})

    def _check(self, holding: Holding, layer: int, incoming: IncomingPage) -> None:
        if not 0 <= layer < self._layers:
            raise refuse("bad_request", f"layer {layer} is not one of {self._layers}")
        if not 0 <= incoming.page < pages_for(holding.prompt_tokens):
            raise refuse("bad_request", f"page {incoming.page} is not one of the prompt's")
        place = holding.places[incoming.page]
        if place.rank != self._mesh_rank or place.slot != incoming.slot:
            raise refuse("bad_request", f"page {incoming.page} does not belong in slot {incoming.slot} here")
        expected = min(PAGE_TOKENS, holding.prompt_tokens - incoming.page * PAGE_TOKENS)
        if incoming.tokens != expected:
            raise refuse("bad_request", f"page {incoming.page} has {expected} tokens, not {incoming.tokens}")
