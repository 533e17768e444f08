"""Which blocks of their requests' full pages single queries read, by the blocks' digests.

    expected   what a query is expected to give a block: the formula of `need`, never above the bound
    bound      what it can give at most: log(block) + sum_i max(q_i lo_i, q_i hi_i)
A KV head reads a block that any of its query heads expects enough of. What is not read weighs no more than the
bounds add up to. On a CPU choice.c computes both steps; elsewhere, and where it does not serve, torch does.
"""

from __future__ import annotations

import ctypes
import math
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from csps_engine.csa.digest import limits
from csps_engine.csa.need import spread_of_square, weights_of
from csps_engine.kernels.compiled import compiled

SOURCE = Path(__file__).with_name("choice.c")
LARGEST_GROUP = 8


class HeldBlocks(NamedTuple):
    """What one rank holds of n requests, in up to W full pages each and one that grows."""

    slots: Tensor  # [n, W] int64
    count: Tensor  # [n] int64 of pages
    always: Tensor  # [n, W] uint8: pages that are read whatever they weigh
    tail_slot: Tensor  # [n] int64
    tail_tokens: Tensor  # [n] int64; 0 where another rank has the page that grows
    blocks: int
    """Of a page."""
    block_tokens: int

    def there(self) -> Tensor:
        """Which columns are blocks of the row [n, W * blocks]."""
        columns = torch.arange(self.slots.shape[1], device=self.slots.device)
        return (columns < self.count.unsqueeze(1)).repeat_interleave(self.blocks, 1)


class BlockScores(NamedTuple):
    """Logarithms of weights by query head; -inf where a row has fewer blocks than others."""

    expected: Tensor  # [n, H, W * blocks]
    bound: Tensor  # [n, H, W * blocks]


class BlockChoice(NamedTuple):
    """Lists as `attention.chosen` takes them, the page that grows last, and what they leave out."""

    listed: Tensor  # [n, K, (W + 1) * blocks] int32
    lengths: Tensor  # [n, K] int32
    left: Tensor  # [n, H] logarithm of what the rest can weigh at most; -inf where nothing is left out
    read: Tensor  # [n] int64: full blocks that are read, over the KV heads


def score_blocks(q: Tensor, digests: Tensor, held: HeldBlocks) -> BlockScores:
    """Of queries q [n, H, D] over what is held, digests [slots, blocks, K, 2D + 4] being those of a layer."""
    return _score_by_code(q, digests, held) or score_by_torch(q, digests, held)


def choose_blocks(scores: BlockScores, floor: Tensor, kv_heads: int, held: HeldBlocks) -> BlockChoice:
    """Blocks from floor [n, H] on, and those that are read always."""
    return _choose_by_code(scores, floor, kv_heads, held) or choose_by_torch(scores, floor, kv_heads, held)


def score_by_torch(q: Tensor, digests: Tensor, held: HeldBlocks) -> BlockScores:
    kv_heads = digests.shape[2]
    found = digests.index_select(0, held.slots.flatten()).unflatten(0, held.slots.shape).flatten(1, 2)
    low, high = (part.permute(0, 2, 3, 1) for part in limits(found))  # [n, K, D, C]
    scaled = (q.float() * q.shape[-1] ** -0.5).unflatten(1, (kv_heads, -1))  # [n, K, G, D]
    missing = ~held.there().unsqueeze(1)
    weights = weights_of(scaled, (low, high), held.block_tokens)
    return BlockScores(*(part.flatten(1, 2).masked_fill(missing, -math.inf) for part in weights))


def choose_by_torch(scores: BlockScores, floor: Tensor, kv_heads: int, held: HeldBlocks) -> BlockChoice:
    group = scores.expected.shape[1] // kv_heads
    near = (scores.expected >= floor.unsqueeze(2)).unflatten(1, (kv_heads, group)).any(2)
    always = (held.always > 0).repeat_interleave(held.blocks, 1).unsqueeze(1)
    taken = (near | always) & held.there().unsqueeze(1)  # [n, K, C]
    left = scores.bound.masked_fill(taken.repeat_interleave(group, 1), -math.inf).logsumexp(2)
    step = torch.arange(held.blocks, device=taken.device)
    tail = (step * held.block_tokens < held.tail_tokens.unsqueeze(1)).unsqueeze(1).expand(-1, kv_heads, -1)
    slots = torch.cat([held.slots, held.tail_slot.unsqueeze(1)], 1)
    blocks = (slots.unsqueeze(2) * held.blocks + step).flatten(1).int().unsqueeze(1).expand(-1, kv_heads, -1)
    order = torch.cat([taken, tail], 2).logical_not().to(torch.uint8).argsort(dim=2, stable=True)
    lengths = taken.sum(2) * held.block_tokens + held.tail_tokens.unsqueeze(1)
    return BlockChoice(blocks.gather(2, order), lengths.int(), left, taken.sum((1, 2)))


class _Held(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("slots", "count", "always", "tail_slot", "tail_tokens")),
        *((name, ctypes.c_size_t) for name in ("rows", "pages", "kv_heads", "group", "blocks", "block_tokens")),
    )


class _Scoring(ctypes.Structure):
    _fields_ = (
        ("held", _Held),
        *((name, ctypes.c_void_p) for name in ("q", "digests", "expected", "bound")),
        ("size", ctypes.c_size_t),
        *((name, ctypes.c_float) for name in ("log_tokens", "spread")),
    )


class _Choosing(ctypes.Structure):
    _fields_ = (
        ("held", _Held),
        *((name, ctypes.c_void_p) for name in ("expected", "bound", "floor", "listed", "lengths", "left", "read")),
    )


def _library(held: HeldBlocks, group: int) -> ctypes.CDLL | None:
    serves = held.slots.device.type == "cpu" and group <= LARGEST_GROUP
    return compiled(SOURCE) if serves else None


def _in_c(held: HeldBlocks, kv_heads: int, group: int) -> _Held:
    """Points into tensors that the caller keeps; they lie in rows."""
    parts = (held.slots, held.count, held.always, held.tail_slot, held.tail_tokens)
    sizes = (*held.slots.shape, kv_heads, group, held.blocks, held.block_tokens)
    return _Held(*(part.data_ptr() for part in parts), *sizes)


def _score_by_code(q: Tensor, digests: Tensor, held: HeldBlocks) -> BlockScores | None:
    count, heads, size = q.shape
    kv_heads, group = digests.shape[2], heads // digests.shape[2]
    library = _library(held, group) if q.dtype == torch.float32 and size % 8 == 0 else None
    if library is None:
        return None
    scaled = (q * size**-0.5).contiguous()
    expected, bound = torch.empty(2, count, heads, held.slots.shape[1] * held.blocks)
    pointers = (part.data_ptr() for part in (scaled, digests, expected, bound))
    numbers = size, math.log(held.block_tokens), spread_of_square(held.block_tokens)
    work = _Scoring(_in_c(held, kv_heads, group), *pointers, *numbers)
    return BlockScores(expected, bound) if library.csps_score_blocks(ctypes.byref(work)) else None


def _choose_by_code(scores: BlockScores, floor: Tensor, kv_heads: int, held: HeldBlocks) -> BlockChoice | None:
    count, heads, columns = scores.expected.shape
    library = _library(held, heads // kv_heads)
    if library is None:
        return None
    inputs = [part.contiguous() for part in (*scores, floor)]
    listed = torch.empty(count, kv_heads, columns + held.blocks, dtype=torch.int32)
    lengths, left = torch.empty(count, kv_heads, dtype=torch.int32), torch.empty(count, heads)
    read = torch.empty(count, dtype=torch.int64)
    pointers = (part.data_ptr() for part in (*inputs, listed, lengths, left, read))
    work = _Choosing(_in_c(held, kv_heads, heads // kv_heads), *pointers)
    return BlockChoice(listed, lengths, left, read) if library.csps_choose_blocks(ctypes.byref(work)) else None
