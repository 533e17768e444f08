"""A rank's attention to its own keys: each tile of queries to itself, and to what it looks at of the blocks before it.

Own tokens rise in position, so index order is causal order. What voters give each own block is known from their
scores, and a tile reads the blocks that one of its voters looks at, as it does of fetched ones.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from csps_engine.attention.attend import attend
from csps_engine.attention.listed import BLOCK_TOKENS, TILE_QUERIES, attend_listed, lists_by_code
from csps_engine.attention.partial import Partial, merge
from csps_engine.csa.voters import Voters
from csps_engine.csa.worth import worth_reading
from csps_engine.kernels.blocks import BEFORE_ALL, BlockLists, KeyBlocks

LEAST_TILES = 4
"""Fewer tiles have too little before them for lists to pay."""


class Least(NamedTuple):
    """What is read; everything at 0."""

    share: float
    """A block that some voter of the tile gives this share of its attention."""
    weight: float
    """Values of a block of which some key has this weight, over that of what a query holds."""


def attend_own(q: Tensor, k: Tensor, v: Tensor, voters: Voters, least: Least) -> Partial:
    """Attention of own queries q [T, H, D] over own k, v [K, T, D]."""
    tiles, rest = divmod(q.shape[0], TILE_QUERIES)
    if tiles < LEAST_TILES or min(least) <= 0 or not lists_by_code(q):
        return attend(q, k, v, causal=True)
    whole = tiles * TILE_QUERIES
    before = k[:, :whole].contiguous(), v[:, :whole].contiguous()
    held = _each_in_itself(q[:whole], *before, tiles)
    found = _attend_before(held, q[:whole], before, _read(voters, tiles, least.share), least.weight)
    if not rest:
        return found
    last = merge(attend(q[whole:], *before, causal=False), attend(q[whole:], k[:, whole:], v[:, whole:], causal=True))
    return Partial(*(torch.cat(column) for column in zip(found, last, strict=True)))


def attend_own_last(q: Tensor, k: Tensor, v: Tensor, count: int) -> Partial:
    """Exact attention of the last `count` of own queries q [n, H, D] over own k, v [K, n, D]."""
    first = q.shape[0] - count
    before = attend(q[first:], k[:, :first], v[:, :first], causal=False)
    return merge(before, attend(q[first:], k[:, first:], v[:, first:], causal=True))


def _each_in_itself(q: Tensor, k: Tensor, v: Tensor, tiles: int) -> Partial:
    """Attention of each tile over its own keys, tiles taking the place of heads."""
    heads, size = q.shape[1:]
    side_by_side = q.unflatten(0, (tiles, -1)).transpose(0, 1).flatten(1, 2)  # [tile, tiles * H, D]
    keys, values = (part.unflatten(1, (tiles, -1)).transpose(0, 1).flatten(0, 1) for part in (k, v))
    out, lse = attend(side_by_side, keys, values, causal=True)
    return Partial(
        out.unflatten(1, (tiles, heads)).transpose(0, 1).reshape(-1, heads, size),
        lse.unflatten(1, (tiles, heads)).transpose(0, 1).reshape(-1, heads),
    )


def _read(voters: Voters, tiles: int, least: float) -> Tensor:
    """Own blocks [H, tiles, C] that each tile reads of those before it."""
    each = TILE_QUERIES // BLOCK_TOKENS
    tile = voters.at // TILE_QUERIES
    voting = tile < tiles
    share = torch.exp(voters.blocks - voters.lse.unsqueeze(-1))[voting, :, : tiles * each].unbind(1)
    before = torch.arange(tiles * each) < each * torch.arange(tiles).unsqueeze(1)
    return torch.stack([worth_reading(one, tile[voting], tiles, least) & before for one in share])


def _attend_before(held: Partial, q: Tensor, keys: tuple[Tensor, Tensor], read: Tensor, weight: float) -> Partial:
    heads, blocks = read.shape[0], read.shape[2]
    kv_heads, tokens, _ = keys[0].shape
    rows = torch.arange(0, kv_heads * tokens, BLOCK_TOKENS, dtype=torch.int32)
    where = KeyBlocks(rows, torch.full_like(rows, BLOCK_TOKENS), torch.full_like(rows, BEFORE_ALL))
    head, _, block = read.nonzero(as_tuple=True)
    counts = read.sum(2)
    end = counts.flatten().cumsum(0).view_as(counts)
    listed = head * kv_heads // heads * blocks + block
    lists = BlockLists((end - counts).int(), end.int(), listed.int())
    return attend_listed(held, q, (keys[0].flatten(0, 1), keys[1].flatten(0, 1)), where, lists, math.log(weight))
