"""What one rank may fetch of each other rank, level by level, and what it chooses.

The queries' needs are set against all sources at once; within a level all sources and KV heads compete for one
budget: the blocks that matter may lie on one of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from csps_engine.csa.fetch import token_mask
from csps_engine.csa.layout import Layout
from csps_engine.csa.levels import level_of, members
from csps_engine.csa.selection import Wishes, within
from csps_engine.csa.settings import CsaSettings, Level

Pairing = tuple[list[Tensor], list[Tensor]]
"""Tokens to give to each rank [K, own tokens], and to take of each rank [K, its tokens]."""


class Reach:
    """The view from `rank`. Its candidates are the blocks it may see and does not get unasked, by source."""

    def __init__(self, layout: Layout, levels: Sequence[Level], rank: int, settings: CsaSettings) -> None:
        self.levels = levels
        self._layout = layout
        self._rank = rank
        self._block_tokens = settings.block_tokens
        ranks = range(layout.ranks)
        self.visible_tokens = sum(layout.visible_tokens(rank, source) for source in ranks)
        self._to_here = [torch.tensor(layout.given(rank, source), dtype=torch.bool) for source in ranks]
        self._from_here = [torch.tensor(layout.given(to, rank), dtype=torch.bool) for to in ranks]
        self.candidates = [
            (~given[: layout.visible(rank, source)]).nonzero().flatten() for source, given in enumerate(self._to_here)
        ]
        """Blocks by source."""
        counts = torch.tensor([len(blocks) for blocks in self.candidates])
        self.places = torch.arange(layout.ranks).repeat_interleave(counts), torch.cat(self.candidates)
        """Source and block of every candidate, in order."""

    def unasked(self, kv_heads: int, device: torch.device) -> Pairing:
        """Sinks and recent blocks, of all KV heads."""
        give = [self._tokens(mask, self._rank, kv_heads, device) for mask in self._from_here]
        take = [self._tokens(mask, source, kv_heads, device) for source, mask in enumerate(self._to_here)]
        return give, take

    def unasked_blocks(self, kv_heads: int, device: torch.device) -> list[Tensor]:
        """What comes so, by source [K, its blocks]."""
        return [mask.expand(kv_heads, -1).to(device) for mask in self._to_here]

    def early_unseen(self, device: torch.device) -> Tensor:
        """By candidate: whether queries of the own early chunk may not see it."""
        later = [torch.full((len(blocks),), source > self._rank) for source, blocks in enumerate(self.candidates)]
        return torch.cat(later).to(device)

    def choose(self, wishes: Wishes, budgets_hold: bool) -> tuple[list[Tensor], int]:
        """By rank, the chosen blocks [K, its blocks], for wishes about the candidates; and how many budgets cut."""
        layout, (kv_heads, _), device = self._layout, wishes.wanted.shape, wishes.wanted.device
        chosen = [
            torch.zeros(kv_heads, layout.blocks(source), dtype=torch.bool, device=device)
            for source in range(layout.ranks)
        ]
        bounds = [0, *itertools.accumulate(len(blocks) for blocks in self.candidates)]
        cut = 0
        for index, level in enumerate(self.levels):
            sources = members(self.levels, self._rank, layout.ranks, index)
            places = torch.tensor([p for s in sources for p in range(bounds[s], bounds[s + 1])], device=device)
            if len(places) == 0:
                continue
            mine = Wishes(wishes.wanted[:, places], wishes.score[:, places])
            choice = within(mine, self._count(level, sources, kv_heads) if budgets_hold else mine.wanted.numel())
            cut += choice.cut
            for source, part in zip(
                sources, choice.wanted.split([len(self.candidates[s]) for s in sources], 1), strict=True
            ):
                chosen[source][:, self.candidates[source].to(device)] = part
        return chosen, cut

    def at_level(self, index: int, give: Sequence[Tensor], take: Sequence[Tensor]) -> Pairing:
        """Of the chosen tokens of all levels, those of one level."""
        here = [r != self._rank and level_of(self.levels, self._rank, r) == index for r in range(self._layout.ranks)]
        return (
            [mask if near else torch.zeros_like(mask) for near, mask in zip(here, give, strict=True)],
            [mask if near else torch.zeros_like(mask) for near, mask in zip(here, take, strict=True)],
        )

    def _count(self, level: Level, sources: Sequence[int], kv_heads: int) -> int:
        """Blocks that a level's budget buys beside those that came unasked, over all KV heads."""
        visible = sum(self._layout.visible(self._rank, source) for source in sources)
        given = sum(int(self._to_here[source].sum()) for source in sources)
        return max(0, math.ceil(level.budget * visible * kv_heads - 1e-9) - given * kv_heads)

    def _tokens(self, blocks: Tensor, source: int, kv_heads: int, device: torch.device) -> Tensor:
        every = blocks.expand(kv_heads, -1).to(device)
        return token_mask(every, self._block_tokens, self._layout.tokens(source))
