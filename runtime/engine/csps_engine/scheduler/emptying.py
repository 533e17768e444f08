"""Plans the moves that empty ranks which leave a pool.

Each request gives up one run of pages at a time, for every commit changes its map. A run goes to the open rank with the
most free pages, the least scanned of equals; what does not fit waits for pages to become free. The home goes with
the first run, or alone when no page is there. A page that several requests share moves once, for all of them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import groupby

from csps_engine.scheduler.move import MoveAsk
from csps_engine.scheduler.pool_book import PoolBook
from csps_engine.scheduler.request import PoolRequest

CONCURRENT_MOVES = 4
DEADLINE_MS = 120_000


@dataclass(frozen=True, slots=True)
class _Run:
    first_page: int
    pages: int
    source: str


def plan_emptying(book: PoolBook, busy: Collection[str], number: int, fence: int) -> list[MoveAsk]:
    """The next moves off the closed ranks; `busy` requests are being moved, `number` makes the move ids differ."""
    free = {rank: book.free_of(rank) for rank in book.open_ranks}
    if not free:
        return []
    scanned = book.scanned_pages()
    moving = {page for request_id in busy for page in book.requests[request_id].pages}
    asks: list[MoveAsk] = []
    for request in book.requests.values():
        if len(busy) + len(asks) >= CONCURRENT_MOVES:
            break
        if request.request_id in busy or not request.settled:
            continue
        run = _leaving_run(request, book.closed)
        if run is None:
            continue
        pages_of_run = request.pages[run.first_page : run.first_page + run.pages]
        if not moving.isdisjoint(pages_of_run):
            continue
        target = max(free, key=lambda rank: (free[rank], -scanned[rank]))
        pages = min(run.pages, free[target])
        if pages == 0 and run.pages > 0:
            continue
        moving.update(pages_of_run[:pages])
        free[target] -= pages
        scanned[target] += pages
        asks.append(
            MoveAsk(
                move_id=f"drain-{run.source}-{number + len(asks)}",
                fence=fence,
                request_id=request.request_id,
                map_version=request.map_version,
                source=run.source,
                source_incarnation=book.members[run.source].incarnation,
                target=target,
                target_incarnation=book.members[target].incarnation,
                first_page=run.first_page,
                pages=pages,
                bytes_per_second=0,
                takes_home=request.home == run.source,
                deadline_ms=DEADLINE_MS,
            )
        )
    return asks


def _leaving_run(request: PoolRequest, closed: frozenset[str]) -> _Run | None:
    """The request's first run of pages on a closed rank; only its home when that is all; None when it needs nothing."""
    first = 0
    for rank, group in groupby(request.pages, key=lambda page: page[0]):
        pages = len(list(group))
        if rank in closed:
            return _Run(first, pages, rank)
        first += pages
    return _Run(0, 0, request.home) if request.home in closed else None
