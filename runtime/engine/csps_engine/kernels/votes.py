"""Votes for key blocks on the device; the definition and the torch form are in `csa.votes`.

The bound splits by the query's sign, so it is two matrix products with the digests' whole steps:
    bound[t, c] = scale[c] * (max(q, 0) · high_steps[c] + min(q, 0) · low_steps[c])
Steps within ±127 are exact in 16 bits, so tensor cores lose nothing beyond fp32 accumulation; each block's scale
is applied afterwards. Rows of one KV head are its group's heads of all queries: row r is query r // G, head r % G.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from csps_engine.kernels.digest import SCALE_BYTES

WARPS = 4
ENOUGH_PROGRAMS = 256
"""Rows are split between programs until there are so many; about two a multiprocessor."""


@triton.jit(do_not_specialize=["rows", "rows_each", "blocks"])
def votes_kernel(
    q: tl.tensor,  # [T, H, D]
    lse: tl.tensor,  # [T, H] fp32
    digests: tl.tensor,  # [C, K, 2D + 4] int8
    scales: tl.tensor,  # [C, K] fp32
    votes: tl.tensor,  # [splits, K, C] fp32
    rows: tl.tensor,
    rows_each: tl.tensor,
    blocks: tl.tensor,
    q_token: tl.tensor,
    q_head: tl.tensor,
    lse_token: tl.tensor,
    kv_heads: tl.tensor,
    group: tl.constexpr,
    size: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_blocks: tl.constexpr,
) -> None:
    """Program (i, u, s): the votes for tile i of blocks, of KV head u's rows in split s."""
    c = tl.program_id(0) * tile_blocks + tl.arange(0, tile_blocks)
    u, split = tl.program_id(1), tl.program_id(2)
    columns = tl.arange(0, size)
    seen = c < blocks
    digest = (c.to(tl.int64) * kv_heads + u) * (2 * size + 4)
    kind = q.dtype.element_ty
    low = tl.load(digests + digest[None, :] + columns[:, None], mask=seen[None, :], other=0).to(kind)  # [D, C]
    high = tl.load(digests + size + digest[None, :] + columns[:, None], mask=seen[None, :], other=0).to(kind)
    scale = tl.load(scales + c * kv_heads + u, mask=seen, other=0.0) * (size**-0.5)
    best = tl.full([tile_blocks], float("-inf"), tl.float32)
    begin = split * rows_each
    end = tl.minimum(begin + rows_each, rows)
    for start in range(begin, end, tile_rows):
        row = start + tl.arange(0, tile_rows)
        voter = row < end
        token, head = (row // group).to(tl.int64), u * group + row % group
        at = (token * q_token + head * q_head)[:, None] + columns[None, :]
        part = tl.load(q + at, mask=voter[:, None], other=0.0)  # [rows, D]
        zero = tl.zeros_like(part)
        bound = tl.dot(tl.maximum(part, zero), high, input_precision="ieee")
        bound = tl.dot(tl.minimum(part, zero), low, bound, input_precision="ieee")
        held = tl.load(lse + token * lse_token + head, mask=voter, other=float("inf"))
        best = tl.maximum(best, tl.max(bound * scale[None, :] - held[:, None], 0))
    tl.store(votes + (split * kv_heads + u).to(tl.int64) * blocks + c, best, mask=seen)


class Tile(NamedTuple):
    """What one step of a program multiplies: as much as registers hold."""

    rows: int
    blocks: int


def tile_for(dtype: torch.dtype) -> Tile:
    return Tile(16, 32) if dtype == torch.float32 else Tile(64, 64)


def neediest(q: Tensor, lse: Tensor, digests: Tensor) -> Tensor:
    """Votes [K, C] of queries [T, H, D] that hold lse [T, H], for digests [C, K, 2D + 4]; -inf when nobody votes."""
    tokens, heads, size = q.shape
    blocks, kv_heads = digests.shape[:2]
    if tokens == 0 or blocks == 0:
        return torch.full((kv_heads, blocks), float("-inf"), device=q.device)
    q = q if q.stride(2) == 1 else q.contiguous()
    lse = lse if lse.stride(1) == 1 else lse.contiguous()
    digests = digests.contiguous()
    scales = digests[..., -SCALE_BYTES:].contiguous().view(torch.float32)
    group = heads // kv_heads
    tile = tile_for(q.dtype)
    rows, tiles = tokens * group, triton.cdiv(blocks, tile.blocks)
    steps = triton.cdiv(rows, tile.rows)
    splits = min(steps, triton.cdiv(ENOUGH_PROGRAMS, tiles * kv_heads))
    each = triton.cdiv(steps, splits) * tile.rows
    votes = torch.empty(splits, kv_heads, blocks, dtype=torch.float32, device=q.device)
    votes_kernel[(tiles, kv_heads, splits)](
        q,
        lse,
        digests,
        scales,
        votes,
        rows,
        each,
        blocks,
        q.stride(0),
        q.stride(1),
        lse.stride(0),
        kv_heads,
        group,
        size,
        tile.rows,
        tile.blocks,
        num_warps=WARPS,
    )
    return votes[0] if splits == 1 else votes.amax(0)
