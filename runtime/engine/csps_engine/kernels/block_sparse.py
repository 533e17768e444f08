"""Attention of prompt queries over listed blocks of keys, with log-sum-exp.

Keys are rows of one matrix, in blocks of up to `block_tokens` consecutive rows that know the position of their
first key. Each KV head and tile of queries has a list of blocks; a query sees the listed keys at positions up to
its own. Order and memory place of blocks mean nothing, so local, fetched and strided keys mix freely. One program a
tile of queries and head: 16-bit products on tensor cores, softmax and accumulation in fp32.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from csps_engine.kernels.blocks import BlockLists, KeyBlocks
from csps_engine.kernels.online_softmax import LOG2_E, add_keys, finish

LISTED = ("positions", "row", "count", "first", "begin", "end", "listed")
"""Small tensors that callers cut from one: no assumption on their alignment, or each cut would compile anew."""


@triton.jit(do_not_specialize=["tokens", "lists"], do_not_specialize_on_alignment=LISTED)
def block_sparse_kernel(
    q: tl.tensor,  # [T, H, D]
    k: tl.tensor,  # [R, D]
    v: tl.tensor,  # [R, D]
    positions: tl.tensor,  # [T] int32
    row: tl.tensor,
    count: tl.tensor,
    first: tl.tensor,
    begin: tl.tensor,
    end: tl.tensor,
    listed: tl.tensor,
    out: tl.tensor,  # [T, H, D]
    lse: tl.tensor,  # [T, H] fp32
    tokens: tl.tensor,
    q_token: tl.tensor,
    q_head: tl.tensor,
    kv_row: tl.tensor,
    lists: tl.tensor,
    group: tl.constexpr,
    size: tl.constexpr,
    tile_queries: tl.constexpr,
    block_tokens: tl.constexpr,
) -> None:
    """Program (i, h): head h of tile i of queries."""
    tile, head = tl.program_id(0), tl.program_id(1)
    heads = tl.num_programs(1)
    t = tile * tile_queries + tl.arange(0, tile_queries)
    columns = tl.arange(0, size)
    n = tl.arange(0, block_tokens)
    inside = t < tokens
    queries = tl.load(
        q + t[:, None].to(tl.int64) * q_token + head * q_head + columns[None, :], mask=inside[:, None], other=0.0
    )
    position = tl.load(positions + t, mask=inside, other=-2)
    m = tl.full([tile_queries], float("-inf"), tl.float32)
    z = tl.zeros([tile_queries], tl.float32)
    acc = tl.zeros([tile_queries, size], tl.float32)
    mine = (head // group) * lists + tl.minimum(tile, lists - 1)
    for i in range(tl.load(begin + mine), tl.load(end + mine)):
        c = tl.load(listed + i)
        held = n < tl.load(count + c)
        at = (tl.load(row + c) + n).to(tl.int64) * kv_row
        start = tl.load(first + c)
        key_position = tl.where(start < 0, start, start + n)
        keys = tl.load(k + at[None, :] + columns[:, None], mask=held[None, :], other=0.0)  # [D, block]
        scores = tl.dot(queries, keys, input_precision="ieee") * (size**-0.5 * LOG2_E)
        seen = held[None, :] & (key_position[None, :] <= position[:, None])
        values = tl.load(v + at[:, None] + columns[None, :], mask=held[:, None], other=0.0)  # [block, D]
        m, z, acc = add_keys(m, z, acc, tl.where(seen, scores, float("-inf")), values)
    result, total = finish(m, z, acc)
    place = t.to(tl.int64) * heads + head
    tl.store(out + place[:, None] * size + columns[None, :], result.to(out.dtype.element_ty), mask=inside[:, None])
    tl.store(lse + place, total, mask=inside)


class Plan(NamedTuple):
    """How one program is cut; chosen so that it keeps its sums in registers (see the compile check)."""

    queries: int
    """Of one tile: lists with L > 1 count in these."""
    warps: int
    stages: int


def plan(dtype: torch.dtype, size: int) -> Plan:
    """For inputs of `dtype` with heads of `size`."""
    if dtype == torch.float32:
        return Plan(queries=16, warps=8, stages=1)
    return Plan(queries=128, warps=8 if size > 64 else 4, stages=2)


def tile_queries(dtype: torch.dtype, size: int) -> int:
    """Queries of one tile, which share a list."""
    return plan(dtype, size).queries


def attend_blocks(
    q: Tensor, positions: Tensor, keys: tuple[Tensor, Tensor], blocks: KeyBlocks, lists: BlockLists, block_tokens: int
) -> tuple[Tensor, Tensor]:
    """Attention (out [T, H, D], lse [T, H] fp32) of q [T, H, D] at `positions` [T] int32 over keys (k, v) [R, D]."""
    tokens, heads, size = q.shape
    q = q if q.stride(2) == 1 else q.contiguous()
    k, v = (part.contiguous() for part in keys)
    out = torch.empty(tokens, heads, size, dtype=q.dtype, device=q.device)
    lse = torch.empty(tokens, heads, dtype=torch.float32, device=q.device)
    if tokens == 0:
        return out, lse
    rows, warps, stages = plan(q.dtype, size)
    kv_heads, count = lists.begin.shape
    grid = (triton.cdiv(tokens, rows), heads)
    block_sparse_kernel[grid](
        q,
        k,
        v,
        positions,
        *blocks,
        lists.begin,
        lists.end,
        lists.block,
        out,
        lse,
        tokens,
        q.stride(0),
        q.stride(1),
        k.stride(0),
        count,
        heads // kv_heads,
        size,
        rows,
        block_tokens,
        num_warps=warps,
        num_stages=stages,
    )
    return out, lse
