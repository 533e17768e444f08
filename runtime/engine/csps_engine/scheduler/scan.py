"""What a decode step reads: the KV of every request that decodes, each token by the rank that holds it."""

from __future__ import annotations

from csps_engine.core.plan import PAGE_TOKENS
from csps_engine.scheduler.pool_book import PoolBook
from csps_engine.scheduler.request import pages_for


def scanned_tokens(book: PoolBook) -> dict[str, int]:
    """Tokens with KV that the next step reads, by rank."""
    scanned = dict.fromkeys(book.members, 0)
    for request in book.requests.values():
        if request.settled:
            for page in range(pages_for(request.position)):
                rank, _ = request.pages[page]
                scanned[rank] += min(PAGE_TOKENS, request.position - page * PAGE_TOKENS)
    return scanned
