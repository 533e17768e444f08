"""What one rank may fetch of each other rank, level by level, and what it chooses.

Within a level all sources compete for one budget: the blocks that matter may lie on one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from csps_engine.csa.fetch import token_mask
from csps_engine.csa.layout import Layout
from csps_engine.csa.levels import blocks_to_vote_for, level_of, members, token_stride
from csps_engine.csa.selection import choose
from csps_engine.csa.settings import CsaSettings, Level

Pairing = tuple[list[Tensor], list[Tensor]]
"""Tokens to give to each rank [K, own tokens], and to take of each rank [K, its tokens]."""


class Reach:
    """The view from `rank`."""

    def __init__(self, layout: Layout, levels: Sequence[Level], rank: int, settings: CsaSettings) -> None:
        self.levels = levels
        self._layout = layout
        self._rank = rank
        self._settings = settings
        ranks = range(layout.ranks)
        self.visible_tokens = sum(layout.visible_tokens(rank, source) for source in ranks)
        self._to_here = [torch.tensor(layout.given(rank, source), dtype=torch.bool) for source in ranks]
        self._from_here = [torch.tensor(layout.given(to, rank), dtype=torch.bool) for to in ranks]

    def unasked(self, kv_heads: int, device: torch.device) -> Pairing:
        """Sinks and recent blocks, of all KV heads."""
        give = [self._tokens(mask, self._rank, kv_heads, device) for mask in self._from_here]
        take = [self._tokens(mask, source, kv_heads, device) for source, mask in enumerate(self._to_here)]
        return give, take

    def choose(self, layer: int, votes: Sequence[Tensor]) -> tuple[list[Tensor], int]:
        """By rank, the wanted blocks [K, its blocks], for votes [K, visible blocks]; and how many the budgets cut."""
        layout, kv_heads, device = self._layout, votes[0].shape[0], votes[0].device
        shape = [(kv_heads, layout.blocks(source)) for source in range(layout.ranks)]
        wanted = [torch.zeros(size, dtype=torch.bool, device=device) for size in shape]
        cut = 0
        for index, level in enumerate(self.levels):
            sources = members(self.levels, self._rank, layout.ranks, index)
            if not sources:
                continue
            seen = [votes[source].shape[1] for source in sources]
            given = torch.cat([self._to_here[s][:n] for s, n in zip(sources, seen, strict=True)]).to(device)
            count = blocks_to_vote_for(level.budget, sum(seen), int(given.sum()), self._settings.stride_share)
            counts = [0 if self._streams(layer, head) else count for head in range(kv_heads)]
            choice = choose(torch.cat([votes[s] for s in sources], 1), ~given, counts, self._settings.gamma)
            cut += choice.cut
            for source, part in zip(sources, choice.wanted.split(seen, 1), strict=True):
                wanted[source][:, : part.shape[1]] = part
        return wanted, cut

    def at_level(self, layer: int, index: int, give: Sequence[Tensor], take: Sequence[Tensor]) -> Pairing:
        """Of the chosen tokens of all levels, those of one level, with the level's strided tokens added."""
        here = [r != self._rank and level_of(self.levels, self._rank, r) == index for r in range(self._layout.ranks)]
        given = [
            mask | self._strided(layer, index, r, self._rank, mask) if here[r] else torch.zeros_like(mask)
            for r, mask in enumerate(give)
        ]
        taken = [
            mask | self._strided(layer, index, self._rank, r, mask) if here[r] else torch.zeros_like(mask)
            for r, mask in enumerate(take)
        ]
        return given, taken

    def _strided(self, layer: int, index: int, to: int, source: int, like: Tensor) -> Tensor:
        """Evenly strided tokens [K, n] of `source` that `to` sees and does not get unasked; each head has its phase."""
        stride = token_stride(self.levels[index].budget, self._settings.stride_share)
        mask = torch.zeros_like(like)
        if stride == 0:
            return mask
        for head in range(mask.shape[0]):
            if not self._streams(layer, head):
                mask[head, head % stride :: stride] = True
        mask[:, self._layout.visible_tokens(to, source) :] = False
        flags = torch.tensor(self._layout.given(to, source), dtype=torch.bool)
        return mask & ~self._tokens(flags, source, mask.shape[0], mask.device)

    def _streams(self, layer: int, head: int) -> bool:
        return (layer, head) in self._settings.streaming

    def _tokens(self, blocks: Tensor, source: int, kv_heads: int, device: torch.device) -> Tensor:
        every = blocks.expand(kv_heads, -1).to(device)
        return token_mask(every, self._layout.block_tokens, self._layout.tokens(source))
