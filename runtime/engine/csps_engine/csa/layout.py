"""Who holds which blocks, who may see them, and what each rank knows of the others without asking.

Rank r of P owns the chunks r and 2P-1-r of 2P (zig-zag). Another rank's chunk lies wholly before or wholly after
each of them, so positions alone say what is visible, and no mask is needed between ranks:
    chunk s   of a rank s < r   is seen by all queries of r
    both chunks of a rank s > r are seen by the queries of r's late chunk
    the late chunk of s < r     is seen by none
A rank's tokens are numbered locally, early chunk first; local block b holds [b*block, (b+1)*block). Chunks start
at pages, so only the last block of a prompt may be short.

The queries of the prompt's tail are served exactly elsewhere and do not count here: `regular` are the others.
"""

from __future__ import annotations

from collections.abc import Sequence

from csps_engine.csa.settings import CsaSettings

Chunk = tuple[int, int]
"""Positions [start, stop)."""


class Layout:
    """One prompt of `tokens` tokens, cut into (early, late) chunks by rank."""

    def __init__(self, chunks: Sequence[tuple[Chunk, Chunk]], settings: CsaSettings) -> None:
        self.ranks = len(chunks)
        self.block_tokens = settings.block_tokens
        self._settings = settings
        self._chunks = chunks
        self._prompt = max(stop for pair in chunks for _, stop in pair)
        self._tail_start = max(0, self._prompt - settings.tail_tokens)
        self.longest_blocks = max(self.blocks(rank) for rank in range(self.ranks))

    def tokens(self, rank: int) -> int:
        return sum(stop - start for start, stop in self._chunks[rank])

    def early_tokens(self, rank: int) -> int:
        start, stop = self._chunks[rank][0]
        return stop - start

    def blocks(self, rank: int) -> int:
        return -(-self.tokens(rank) // self.block_tokens)

    def early_blocks(self, rank: int) -> int:
        return -(-self.early_tokens(rank) // self.block_tokens)

    def tail(self, rank: int) -> int:
        """How many of a rank's queries are in the tail: the last ones."""
        return sum(max(0, stop - max(start, self._tail_start)) for start, stop in self._chunks[rank])

    def regular(self, rank: int) -> int:
        return self.tokens(rank) - self.tail(rank)

    def first_position(self, rank: int, block: int) -> int:
        """Absolute position of a block's first token."""
        (early, _), (late, _) = self._chunks[rank]
        offset = block * self.block_tokens
        return early + offset if block < self.early_blocks(rank) else late + offset - self.early_tokens(rank)

    def visible(self, rank: int, source: int) -> int:
        """How many blocks of `source`, from its first, some regular query of `rank` may see."""
        if source < rank:
            return self.early_blocks(source) if self.regular(rank) > 0 else 0
        late_regular = self.regular(rank) > self.early_tokens(rank)
        return self.blocks(source) if source > rank and late_regular else 0

    def visible_tokens(self, rank: int, source: int) -> int:
        return min(self.tokens(source), self.visible(rank, source) * self.block_tokens)

    def given(self, rank: int, source: int) -> list[bool]:
        """By block of `source`: whether `rank` gets it unasked, as a sink or as next before a chunk of its own."""
        reach = self._settings.recent_blocks * self.block_tokens
        starts = [start for start, stop in self._chunks[rank] if stop > start]
        flags = [False] * self.blocks(source)
        for block in range(self.visible(rank, source)):
            at = self.first_position(source, block)
            recent = any(start - reach <= at < start for start in starts)
            flags[block] = at < self._settings.sink_tokens or recent
        return flags

    def audited(self, rank: int, layer: int) -> list[int]:
        """Local indices of the regular queries whose attention mass is audited in `layer`: spread, and moving on by
        the golden section from layer to layer, so that no position is favoured."""
        regular = self.regular(rank)
        count = min(self._settings.audits, regular)
        shift = (layer * 0.6180339887) % 1.0
        return [int((i + shift) * regular / count) for i in range(count)]
