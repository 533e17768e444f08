"""Distance of ranks in levels."""

from __future__ import annotations

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
