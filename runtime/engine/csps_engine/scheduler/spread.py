"""How the pages of a request are spread over the ranks of a pool.

Smooth weighted round robin over blocks of consecutive pages, weighted by each rank's free pages: ranks fill up
evenly, every part of a long prompt is spread (decode attends to all of it at once, and follows the rank that
holds most), and a block still travels and is read as one piece.
"""

from __future__ import annotations

from collections.abc import Mapping

BLOCK_PAGES = 4


def spread_pages(free: Mapping[str, int], count: int) -> list[str] | None:
    """The rank of each of `count` pages, or None when the ranks together have too few free pages."""
    if count > sum(free.values()):
        return None
    left = dict(free)
    credit: dict[str, float] = dict.fromkeys(free, 0.0)
    total = sum(free.values())
    # A request of few pages still uses several ranks once it is longer than a page for each.
    block = max(1, min(BLOCK_PAGES, count // max(1, len(free))))
    owners: list[str] = []
    while len(owners) < count:
        for rank in left:
            credit[rank] += free[rank]
        rank = max((r for r in left if left[r] > 0), key=lambda r: (credit[r], left[r]))
        credit[rank] -= total
        take = min(block, left[rank], count - len(owners))
        left[rank] -= take
        owners.extend([rank] * take)
    return owners


def choose_home(homed: Mapping[str, int]) -> str:
    """The rank with the fewest rows to run the dense layers of; the first of equals."""
    return min(homed, key=lambda rank: homed[rank])
