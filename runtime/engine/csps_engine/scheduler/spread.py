"""How the pages of a request are spread over the ranks of a pool.

A decode step lasts as long as the rank that reads most KV, so each page goes to the rank that is scanned least:

    owner(page) = argmin over ranks with a free page of (pages scanned so far, -free pages)

Pages are given in the order in which they will be written, so the ranks stay level at any length of the answer; and as
pages that may never be written count too, memory stays level with them. Pages of the prompt go in blocks, which travel
in one piece; those of the answer one by one. Reading does not care, for a rank's slots are consecutive anyway.
"""

from __future__ import annotations

from collections.abc import Mapping

BLOCK_PAGES = 4


def spread_pages(
    free: Mapping[str, int], scanned: Mapping[str, int], prompt_pages: int, answer_pages: int
) -> list[str] | None:
    """The rank of each page, or None when the ranks together have too few free pages.

    `scanned` are the pages that a step of all requests reads, by rank; a rank that is not in it reads none.
    """
    count = prompt_pages + answer_pages
    if count > sum(free.values()):
        return None
    left = dict(free)
    scan = {rank: scanned.get(rank, 0) for rank in free}
    # A request of few pages still uses several ranks once it is longer than a page for each.
    block = max(1, min(BLOCK_PAGES, prompt_pages // max(1, len(free))))
    owners: list[str] = []
    while len(owners) < count:
        rank = min((r for r in left if left[r] > 0), key=lambda r: (scan[r], -left[r]))
        wanted = prompt_pages - len(owners)
        take = min(block, wanted, left[rank]) if wanted > 0 else 1
        left[rank] -= take
        scan[rank] += take
        owners.extend([rank] * take)
    return owners


def choose_home(homed: Mapping[str, int]) -> str:
    """The rank with the fewest rows to run the dense layers of; the first of equals."""
    return min(homed, key=lambda rank: homed[rank])
