"""Ticks: what the coordinator of an epoch tells every member to do next, as bytes for the mesh.

A tick carries, in this order: what ended, what is held now, which moves begin, are dropped or commit, whose KV must
be complete, and the work. Every member applies it in full before the work starts, so the replicas of the page tables
never differ while a collective runs. The first tick of an epoch is a `sync`: its holdings are all there are, and no
move is under way.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from csps_engine.core.plan import AttentionKind, DecodeRow, Place, Sampling
from csps_engine.scheduler.move import MoveCommit, MoveTicket

TickKind = Literal["idle", "decode", "prefill", "leave"]


@dataclass(frozen=True, slots=True)
class Holding:
    """The pages that a request holds in a pool, by mesh rank of the present epoch."""

    request_id: str
    version: int
    """Epoch in which the pages were reserved. Late KV of an older reservation carries an older version."""
    prompt_tokens: int
    home: int
    places: tuple[Place, ...]
    shared_pages: int = 0
    """Leading pages whose KV was there before."""


@dataclass(frozen=True, slots=True)
class PrefillOrder:
    """A prompt for some ranks of the group, and where its KV goes. `reservation` is the wire message's JSON."""

    request_id: str
    token_ids: tuple[int, ...]
    sampling: Sampling
    reservation: str
    budget_ms: int
    """From the start of the tick until every page must be acknowledged."""
    ranks: tuple[int, ...]
    """Mesh ranks that compute it, in rising order."""
    pieces: int = 1
    """In how many pieces a layer's attention is exchanged, if it can be."""
    attention: AttentionKind = "dense"
    joined: str = ""
    """The order of the same tick whose pass computes this prompt too; empty for the first of a pass."""


@dataclass(frozen=True, slots=True)
class Advance:
    """A prompt whose ranks compute its next `layers` layers in this tick; a rank does its own in their order.

    One of a pass stands for all of them.
    """

    request_id: str
    layers: int


@dataclass(frozen=True, slots=True)
class Tick:
    kind: TickKind
    reason: str = ""
    """Of a leave: why the epoch ends."""
    sync: bool = False
    ended: tuple[str, ...] = ()
    held: tuple[Holding, ...] = ()
    admitted: tuple[str, ...] = ()
    """Requests whose prompt KV every holder must have in full before they may decode."""
    rows: tuple[DecodeRow, ...] = ()
    orders: tuple[PrefillOrder, ...] = ()
    """Prompts that begin."""
    advances: tuple[Advance, ...] = ()
    measures: bool = False
    """The ranks measure what they and their links do, for the coordinator to plan by."""
    tickets: tuple[MoveTicket, ...] = ()
    """Moves that begin."""
    dropped: tuple[str, ...] = ()
    """Moves that ended without a commit."""
    commits: tuple[MoveCommit, ...] = ()
    asks_moves: bool = False
    """The sources say how far they are."""
    closed: tuple[int, ...] | None = None
    """Mesh ranks that get nothing new from now on; None: as before."""
    book: dict[str, Any] | None = None
    """Of a leave: the book of a coordinator that will not be in the next epoch."""

    def to_bytes(self) -> bytes:
        document: dict[str, Any] = {"kind": self.kind}
        if self.reason:
            document["reason"] = self.reason
        if self.sync:
            document["sync"] = True
        if self.ended:
            document["ended"] = self.ended
        if self.held:
            document["held"] = [
                [h.request_id, h.version, h.prompt_tokens, h.home, [list(place) for place in h.places], h.shared_pages]
                for h in self.held
            ]
        if self.admitted:
            document["admitted"] = self.admitted
        if self.rows:
            document["rows"] = [[r.request_id, r.home, r.token_id, r.position, _pack(r.sampling)] for r in self.rows]
        if self.orders:
            document["orders"] = [asdict(order) for order in self.orders]
        if self.advances:
            document["advances"] = [[a.request_id, a.layers] for a in self.advances]
        if self.measures:
            document["measures"] = True
        document |= _write_moves(self)
        return json.dumps(document, separators=(",", ":")).encode()


def tick_from_bytes(payload: bytes) -> Tick:
    document = json.loads(payload)
    return Tick(
        kind=document["kind"],
        reason=document.get("reason", ""),
        sync=document.get("sync", False),
        ended=tuple(document.get("ended", ())),
        held=tuple(
            Holding(rid, version, prompt, home, tuple(Place(*place) for place in places), shared)
            for rid, version, prompt, home, places, shared in document.get("held", ())
        ),
        admitted=tuple(document.get("admitted", ())),
        rows=tuple(
            DecodeRow(rid, home, token, position, Sampling(*sampling))
            for rid, home, token, position, sampling in document.get("rows", ())
        ),
        orders=tuple(_order(order) for order in document.get("orders", ())),
        advances=tuple(Advance(*advance) for advance in document.get("advances", ())),
        measures=document.get("measures", False),
        tickets=tuple(
            MoveTicket(**{**ticket, "slots": tuple(ticket["slots"])}) for ticket in document.get("tickets", ())
        ),
        dropped=tuple(document.get("dropped", ())),
        commits=tuple(MoveCommit(*commit) for commit in document.get("commits", ())),
        asks_moves=document.get("asksMoves", False),
        closed=tuple(document["closed"]) if "closed" in document else None,
        book=document.get("book"),
    )


def _order(document: dict[str, Any]) -> PrefillOrder:
    tokens, ranks = tuple(document["token_ids"]), tuple(document["ranks"])
    sampling = Sampling(**document["sampling"])
    return PrefillOrder(**{**document, "token_ids": tokens, "ranks": ranks, "sampling": sampling})


def _write_moves(tick: Tick) -> dict[str, Any]:
    document: dict[str, Any] = {}
    if tick.tickets:
        document["tickets"] = [asdict(ticket) for ticket in tick.tickets]
    if tick.dropped:
        document["dropped"] = tick.dropped
    if tick.commits:
        document["commits"] = [[c.move_id, c.copied_pages, c.tokens] for c in tick.commits]
    if tick.asks_moves:
        document["asksMoves"] = True
    if tick.closed is not None:
        document["closed"] = tick.closed
    if tick.book is not None:
        document["book"] = tick.book
    return document


def _pack(s: Sampling) -> list[float | int | bool]:
    return [s.temperature, s.top_p, s.seed, s.logprobs, s.want_logprobs]
