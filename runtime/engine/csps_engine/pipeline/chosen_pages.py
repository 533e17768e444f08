"""The pages that one rank holds of a step's long requests, of which it reads the blocks that weigh enough.

expected weight of every full block, by its digest       (score; the largest of each row and head: top)
read it when it is near the largest of all holders (DecodeChoice.floor), or its page is read in any case
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from csps_engine.attention.chosen import ChosenBlocks, attend_chosen
from csps_engine.attention.paged import paged_attention
from csps_engine.attention.partial import Partial
from csps_engine.core.plan import DecodeRow, PageTable
from csps_engine.csa.block_choice import BlockScores, HeldBlocks, choose_blocks, score_blocks
from csps_engine.csa.decode_settings import DecodeChoice
from csps_engine.csa.page_digests import PageDigests
from csps_engine.kv.pool import KvPool
from csps_engine.kv.runs import local_pages


class Reader(NamedTuple):
    """What reads a pool by choice; one for all steps."""

    pool: KvPool
    digests: PageDigests
    rule: DecodeChoice


class Chosen(NamedTuple):
    """What one layer read."""

    partial: Partial
    left: Tensor  # [n, H] logarithm of what the rest can weigh at most; -inf where nothing is left out
    read: Tensor  # [n] full blocks that were read, over the KV heads


class Held(NamedTuple):
    """What a rank holds of one request."""

    full: list[tuple[int, bool]]
    """Slot of each full page, and whether it is read whatever it weighs."""
    tail_slot: int
    """Of the page that grows; anything where another rank has it."""
    tail_tokens: int
    """The new one included; 0 where another rank has it."""


class ChosenPages:
    """Requests of one step, by their pages on `rank`; looked up once for all layers."""

    def __init__(self, reader: Reader, requests: Sequence[tuple[DecodeRow, PageTable]], rank: int) -> None:
        pool, digests, rule = self._pool, self._digests, self._rule = reader
        held = [_held(row, table, rank, rule) for row, table in requests]
        digests.prepare(slot for one in held for slot, _ in one.full)
        digests.forget(one.tail_slot for one in held if one.tail_tokens)
        # A row without a full page has room for one, so that no dimension is empty.
        longest = max((len(one.full) for one in held), default=0) or 1
        # One transfer: a row is its slots and which of them are read always, and then its tail.
        rows = [
            [*itertools.chain(*one.full, *[(0, False)] * (longest - len(one.full))), len(one.full), *one[1:]]
            for one in held
        ]
        facts = torch.tensor(rows, dtype=torch.long).view(len(rows), 2 * longest + 3).to(pool.device)
        count, tail_slot, tail_tokens = (part.contiguous() for part in facts[:, -3:].unbind(1))
        slots, always = (part.contiguous() for part in facts[:, : 2 * longest].unflatten(1, (longest, 2)).unbind(2))
        self._held = HeldBlocks(
            slots, count, always.to(torch.uint8), tail_slot, tail_tokens, digests.blocks, rule.block_tokens
        )
        self.blocks = count * digests.blocks * pool.shape.kv_heads
        """Full blocks held of each row [n], over the KV heads."""
        self._all = sum(len(one.full) for one in held) * digests.blocks * pool.shape.kv_heads
        floors = [[rule.floor(row.position // table.page_tokens * digests.blocks)] for row, table in requests]
        self._floor = torch.tensor(floors).view(len(floors), 1).to(pool.device)
        pages = [local_pages(table, rank, row.position + 1) for row, table in requests]
        self._whole = paged_attention(pool, pages)

    def score(self, layer: int, q: Tensor) -> BlockScores:
        """Of the full blocks, for q [n, H, D]."""
        return score_blocks(q, self._digests.of(layer), self._held)

    def read(self, layer: int, q: Tensor, scores: BlockScores, top: Tensor) -> Chosen:
        """Attend to the blocks that come near the largest weight of all holders, `top` [n, H]."""
        choice = choose_blocks(scores, top + self._floor, self._pool.shape.kv_heads, self._held)
        # Where all is read it is read as ever, to the last bit; on a GPU asking would wait for the device.
        if not q.is_cuda and int(choice.read.sum()) == self._all:
            return Chosen(self._whole.attend(layer, q), choice.left, choice.read)
        blocks = ChosenBlocks(choice.listed, choice.lengths, self._rule.block_tokens)
        return Chosen(attend_chosen(q, self._pool.pages(layer), blocks), choice.left, choice.read)

    def exact(self, layer: int, q: Tensor) -> Partial:
        """Attention to all that is held here."""
        return self._whole.attend(layer, q)


def _held(row: DecodeRow, table: PageTable, rank: int, rule: DecodeChoice) -> Held:
    growing, inside = divmod(row.position, table.page_tokens)
    places = enumerate(table.places[:growing])
    full = [(place.slot, rule.always(page, growing)) for page, place in places if place.rank == rank]
    tail = table.tail(row.position)
    return Held(full, tail.slot if tail.rank == rank else 0, inside + 1 if tail.rank == rank else 0)
