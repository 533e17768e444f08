"""Which of the fetched blocks each tile of queries reads: those that any of its queries is expected to look at.

A rank fetches what its queries need together; a block that one of them needs, most others can do without. What is
skipped so is attention lost beside that of the blocks left where they are, and is counted with it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Tiles(NamedTuple):
    """How a rank's regular queries are cut into runs of `size`, none across its two chunks."""

    early: int
    """Queries of the early chunk."""
    regular: int
    size: int

    @property
    def early_tiles(self) -> int:
        return -(-self.early // self.size)

    @property
    def total(self) -> int:
        return self.early_tiles - (self.early - self.regular) // self.size

    def of(self, query: Tensor) -> Tensor:
        """The tiles of queries."""
        late = self.early_tiles + (query - self.early).clamp_min(0) // self.size
        return torch.where(query < self.early, query // self.size, late)


def worth_reading(share: Tensor, tile: Tensor, tiles: int, least: float) -> Tensor:
    """Blocks [tiles, C] to which some query gives `least`, by the share [Q, C] expected of queries of tiles [Q].

    All blocks for a tile of which no query was asked.
    """
    most = share.new_full((tiles, share.shape[1]), -1.0)
    most = most.scatter_reduce(0, tile.unsqueeze(1).expand_as(share), share, "amax")
    return (most >= least) | (most < 0)
