"""A pool's book in the terms of ticks.

The book knows ranks by names, which outlive an epoch; ticks name them by the mesh, which numbers them anew in each.
"""

from __future__ import annotations

from csps_engine.core.plan import DecodeRow, Place
from csps_engine.scheduler.pool_book import PoolBook
from csps_engine.scheduler.ticks import Holding


def holding_of(book: PoolBook, request_id: str) -> Holding:
    """What every member must know of a request."""
    request, numbers = book.requests[request_id], mesh_numbers(book)
    places = tuple(Place(numbers[rank], slot) for rank, slot in request.pages)
    return Holding(
        request_id=request_id,
        version=request.version,
        prompt_tokens=request.prompt_tokens,
        home=numbers[request.home],
        places=places,
        shared_pages=request.shared_pages,
    )


def admitted(book: PoolBook) -> tuple[str, ...]:
    """Decodes that wait for every holder's word that their KV is complete."""
    return tuple(r.request_id for r in book.requests.values() if r.phase == "decoding" and not r.checked)


def rows_of(book: PoolBook, limit: int) -> tuple[DecodeRow, ...]:
    """The next step: one token of each running request, the oldest requests first."""
    numbers = mesh_numbers(book)
    running = [r for r in book.requests.values() if r.settled]
    return tuple(
        DecodeRow(r.request_id, numbers[r.home], r.next_token, r.position, r.order.sampling)
        for r in running[:limit]
        if r.order is not None
    )


def closed_numbers(book: PoolBook) -> tuple[int, ...]:
    """The members that drain."""
    return tuple(number for rank, number in mesh_numbers(book).items() if rank in book.closed)


def mesh_numbers(book: PoolBook) -> dict[str, int]:
    """By rankId, of this epoch."""
    return {rank: number for number, rank in enumerate(book.members)}
