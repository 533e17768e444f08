"""Attention of a block of queries when each KV head has its own number of keys, all of them seen by every query."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from csps_engine.attention.attend import attend
from csps_engine.attention.partial import Partial
from csps_engine.kernels.blocks import BEFORE_ALL, BlockLists, KeyBlocks
from csps_engine.kernels.choice import Launchers, kernels_for

Piece = tuple[Tensor, Tensor]
"""Keys and values [S, D] of one KV head."""

BLOCK_TOKENS = 64


def attend_each_head(q: Tensor, keys: Sequence[Sequence[Piece]]) -> Partial:
    """Attention of q [T, H, D]; keys[u] are the pieces of KV head u, in memory anywhere."""
    kernels = kernels_for(q)
    return _head_by_head(q, keys) if kernels is None else _at_once(q, keys, kernels)


def _head_by_head(q: Tensor, keys: Sequence[Sequence[Piece]]) -> Partial:
    group = q.shape[1] // len(keys)
    parts = []
    for head, pieces in enumerate(keys):
        k, v = (torch.cat(column).unsqueeze(0) for column in zip(*pieces, strict=True))
        parts.append(attend(q[:, head * group : (head + 1) * group].contiguous(), k, v, causal=False))
    return Partial(*(torch.cat(column, 1) for column in zip(*parts, strict=True)))


def _at_once(q: Tensor, keys: Sequence[Sequence[Piece]], kernels: Launchers) -> Partial:
    k, v = (torch.cat(column) for column in zip(*itertools.chain.from_iterable(keys), strict=True))
    ends = list(itertools.accumulate(sum(piece[0].shape[0] for piece in pieces) for pieces in keys))
    rows: list[int] = []
    counts: list[int] = []
    bounds = [0]
    for first, stop in itertools.pairwise([0, *ends]):
        rows += range(first, stop, BLOCK_TOKENS)
        counts += [min(BLOCK_TOKENS, stop - row) for row in range(first, stop, BLOCK_TOKENS)]
        bounds.append(len(rows))
    # One transfer for all numbers; every block is in the list of its head, in order.
    numbers = [rows, counts, [BEFORE_ALL] * len(rows), range(len(rows)), bounds[:-1], bounds[1:], [0] * q.shape[0]]
    flat = torch.tensor([*itertools.chain.from_iterable(numbers)], dtype=torch.int32).to(q.device)
    row, count, position, listed, begin, end, positions = flat.split([len(part) for part in numbers])
    lists = BlockLists(begin.unsqueeze(1), end.unsqueeze(1), listed)
    blocks = KeyBlocks(row, count, position)
    return Partial(*kernels.attend_blocks(q, positions, (k, v), blocks, lists, BLOCK_TOKENS))
