"""Distance of ranks in levels, and how many blocks a level's budget buys."""

from __future__ import annotations

import math
from collections.abc import Sequence

from csps_engine.csa.settings import CsaError, Level


def levels_for(levels: Sequence[Level], ranks: int) -> list[Level]:
    """The levels that a mesh of `ranks` ranks needs, with sizes filled in. Raises CsaError if some rank has none."""
    needed: list[Level] = []
    for level in levels:
        size = level.ranks or ranks
        needed.append(Level(size, level.budget))
        if size >= ranks:
            return needed
    raise CsaError(f"levels: the largest holds {needed[-1].ranks} ranks, the group has {ranks}")


def level_of(levels: Sequence[Level], rank: int, other: int) -> int:
    """Index of the first level that two ranks share."""
    return next(i for i, level in enumerate(levels) if rank // level.ranks == other // level.ranks)


def members(levels: Sequence[Level], rank: int, ranks: int, index: int) -> list[int]:
    """The other ranks whose first level shared with `rank` is `index`: disjoint between levels, all of them together
    every other rank."""
    return [other for other in range(ranks) if other != rank and level_of(levels, rank, other) == index]


def blocks_to_vote_for(budget: float, visible: int, given: int, stride_share: float) -> int:
    """Blocks that a KV head may choose, out of `visible`, when `given` of them have come unasked."""
    whole = math.ceil(budget * (1 - stride_share) * visible - 1e-9)
    return max(0, whole - given)


def token_stride(budget: float, stride_share: float) -> int:
    """One in so many tokens is fetched for the strided share; 0 for none."""
    share = budget * stride_share
    return 0 if share <= 0 else max(1, round(1 / share))
