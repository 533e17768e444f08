"""A pool's book as a document: what a coordinator that leaves hands to whoever coordinates next.

It travels in the last tick of the epoch to every member, so that it does not matter which of them is elected. Leases
are told as what is left of them, for ranks share no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from csps_engine.core.plan import Sampling
from csps_engine.scheduler.page_ledger import KeyedPage, Page
from csps_engine.scheduler.pool_book import PoolBook, PoolMember
from csps_engine.scheduler.request import DecodeOrder, PoolRequest

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Handover:
    """A book that was taken over."""

    epoch: int
    members: tuple[PoolMember, ...]
    requests: tuple[PoolRequest, ...]
    keyed: tuple[KeyedPage, ...] = ()


def write_handover(book: PoolBook, epoch: int, now: float) -> Document:
    """Only JSON types. Whoever reads it sees the requests in the same order."""
    return {
        "epoch": epoch,
        "members": [[m.rank_id, m.incarnation, m.pages] for m in book.members.values()],
        "requests": [_write(request, now) for request in book.requests.values()],
        "keyed": [[key, *page] for key, page in book.ledger.keyed],
    }


def read_handover(document: Document, now: float) -> Handover:
    return Handover(
        epoch=document["epoch"],
        members=tuple(PoolMember(*member) for member in document["members"]),
        requests=tuple(_read(request, now) for request in document["requests"]),
        keyed=tuple(KeyedPage(key, Page(rank, slot)) for key, rank, slot in document.get("keyed", ())),
    )


def _write(r: PoolRequest, now: float) -> Document:
    document: Document = {
        "requestId": r.request_id,
        "version": r.version,
        "promptTokens": r.prompt_tokens,
        "maxNewTokens": r.max_new_tokens,
        "pages": [list(page) for page in r.pages],
        "home": r.home,
        "mapVersion": r.map_version,
        "leaseLeft": max(0.0, r.lease_until - now),
        "phase": r.phase,
        "checked": r.checked,
        "next": [r.next_token, r.position, r.produced],
        "keys": list(r.keys),
        "sharedPages": r.shared_pages,
    }
    if r.order is not None:
        o, s = r.order, r.order.sampling
        document["order"] = [o.first_token, o.max_new_tokens, sorted(o.stop_token_ids)]
        document["shareable"] = o.shareable
        document["sampling"] = [s.temperature, s.top_p, s.seed, s.logprobs, s.want_logprobs]
    return document


def _read(document: Document, now: float) -> PoolRequest:
    order = None
    if "order" in document:
        first, count, stop = document["order"]
        sampling = Sampling(*document["sampling"])
        order = DecodeOrder(first, count, frozenset(stop), sampling, document.get("shareable", False))
    next_token, position, produced = document["next"]
    return PoolRequest(
        request_id=document["requestId"],
        version=document["version"],
        prompt_tokens=document["promptTokens"],
        max_new_tokens=document["maxNewTokens"],
        pages=[Page(rank, slot) for rank, slot in document["pages"]],
        home=document["home"],
        lease_until=now + document["leaseLeft"],
        phase=document["phase"],
        checked=document["checked"],
        order=order,
        next_token=next_token,
        position=position,
        produced=produced,
        map_version=document["mapVersion"],
        keys=tuple(document.get("keys", ())),
        shared_pages=document.get("sharedPages", 0),
    )
