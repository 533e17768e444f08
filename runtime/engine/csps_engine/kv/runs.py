"""Which stretches of a rank's KV pool hold the pages of a request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from csps_engine.core.plan import PageTable


class Run(NamedTuple):
    """Full pages in consecutive slots, except that the last page may be partly filled."""

    slot: int
    """First slot."""
    tokens: int


def local_pages(table: PageTable, rank: int, length: int) -> list[Run]:
    """The pages of the first `length` tokens that live on `rank`, in the request's order, one run each."""
    size = table.page_tokens
    used = -(-length // size)
    return [
        Run(place.slot, min(size, length - page * size))
        for page, place in enumerate(table.places[:used])
        if place.rank == rank
    ]


def join_runs(pages: Iterable[Run], page_tokens: int) -> list[Run]:
    """Join neighbours in the list that are neighbours in the pool."""
    joined: list[Run] = []
    for page in pages:
        last = joined[-1] if joined else None
        if last is not None and last.tokens % page_tokens == 0 and page.slot == last.slot + last.tokens // page_tokens:
            joined[-1] = Run(last.slot, last.tokens + page.tokens)
        else:
            joined.append(page)
    return joined
