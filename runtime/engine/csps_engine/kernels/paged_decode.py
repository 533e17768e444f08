"""Attention of one query a request over its pages in the pool, with log-sum-exp.

A rank holds some pages of each request, in any slots. One program takes a request, a KV head and a share of the
pages (split-K), so that one long request fills the device as well as many short ones; the head's whole group of
query heads shares each key that is read. Shares are merged by `merge`, in order.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from csps_engine.kernels.merge import merge_parts
from csps_engine.kernels.online_softmax import LOG2_E, add_keys, finish

LEAST_ROWS = 16
"""Rows of the smallest matrix product."""
PROGRAMS_PER_PROCESSOR = 2


@triton.jit(do_not_specialize=["pages_each", "table_row"], do_not_specialize_on_alignment=["table", "lengths"])
def paged_decode_kernel(
    q: tl.tensor,  # [n, H, D]
    k: tl.tensor,  # [K, slots * page, D]
    v: tl.tensor,  # [K, slots * page, D]
    table: tl.tensor,  # [n, pages] int32 slots
    lengths: tl.tensor,  # [n] int32 tokens
    outs: tl.tensor,  # [splits, n, H, D]
    lses: tl.tensor,  # [splits, n, H] fp32
    q_row: tl.tensor,
    q_head: tl.tensor,
    kv_head: tl.tensor,
    kv_token: tl.tensor,
    table_row: tl.tensor,
    pages_each: tl.tensor,
    heads: tl.tensor,
    group: tl.constexpr,
    size: tl.constexpr,
    page: tl.constexpr,
    tile_rows: tl.constexpr,
) -> None:
    """Program (i, u, s): the query heads of KV head u of request i, over share s of its pages."""
    i, u, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    g = tl.arange(0, tile_rows)
    n = tl.arange(0, page)
    columns = tl.arange(0, size)
    head, inside = u * group + g, g < group
    queries = tl.load(
        q + i.to(tl.int64) * q_row + head[:, None] * q_head + columns[None, :], mask=inside[:, None], other=0.0
    )
    length = tl.load(lengths + i)
    m = tl.full([tile_rows], float("-inf"), tl.float32)
    z = tl.zeros([tile_rows], tl.float32)
    acc = tl.zeros([tile_rows, size], tl.float32)
    begin = split * pages_each
    used = tl.minimum(begin + pages_each, tl.cdiv(length, page))
    for p in range(begin, used):
        slot = tl.load(table + i.to(tl.int64) * table_row + p)
        held = p * page + n < length
        at = u.to(tl.int64) * kv_head + (slot.to(tl.int64) * page + n) * kv_token
        keys = tl.load(k + at[None, :] + columns[:, None], mask=held[None, :], other=0.0)  # [D, page]
        scores = tl.dot(queries, keys, input_precision="ieee") * (size**-0.5 * LOG2_E)
        # The rest of a page may hold anything, NaN too: masked out of scores and values both.
        values = tl.load(v + at[:, None] + columns[None, :], mask=held[:, None], other=0.0)  # [page, D]
        m, z, acc = add_keys(m, z, acc, tl.where(held[None, :], scores, float("-inf")), values)
    result, total = finish(m, z, acc)
    place = (split * tl.num_programs(0) + i).to(tl.int64) * heads + head
    tl.store(outs + place[:, None] * size + columns[None, :], result.to(outs.dtype.element_ty), mask=inside[:, None])
    tl.store(lses + place, total, mask=inside)


def split_count(programs: int, pages: int, processors: int) -> int:
    """Shares of the pages, so that `programs` programs a share fill the processors; no share without a page."""
    return max(1, min(pages, triton.cdiv(PROGRAMS_PER_PROCESSOR * processors, max(1, programs))))


def attend_pages(
    q: Tensor, pool: tuple[Tensor, Tensor], table: Tensor, lengths: Tensor, splits: int | None = None
) -> tuple[Tensor, Tensor]:
    """Attention (out [n, H, D], lse [n, H] fp32) of queries q [n, H, D] over the pages of their requests.

    `pool`: one layer's K and V [K, slots, page, D]. `table` [n, pages] int32: the slots of each request's local pages;
    `lengths` [n] int32: its local tokens, all in full pages but the last. A length of 0 gives 0 and -inf.
    """
    k, v = pool
    count, heads, size = q.shape
    kv_heads, _, page, _ = k.shape
    pages = table.shape[1]
    q = q if q.stride(2) == 1 else q.contiguous()
    shares = split_count(count * kv_heads, pages, processors(q.device)) if splits is None else splits
    # fp32 in parts that will be merged: rounding once, at the end.
    outs = torch.empty(shares, *q.shape, dtype=q.dtype if shares == 1 else torch.float32, device=q.device)
    lses = torch.empty(shares, count, heads, dtype=torch.float32, device=q.device)
    group = heads // kv_heads
    warps, stages = plan(q.dtype)
    if count > 0:
        paged_decode_kernel[(count, kv_heads, shares)](
            q,
            k,
            v,
            table,
            lengths,
            outs,
            lses,
            q.stride(0),
            q.stride(1),
            k.stride(0),
            k.stride(2),
            table.stride(0),
            triton.cdiv(pages, shares),
            heads,
            group,
            size,
            page,
            tile_rows(group),
            num_warps=warps,
            num_stages=stages,
        )
    return (outs[0], lses[0]) if shares == 1 else merge_parts(outs, lses, q.dtype)


def tile_rows(group: int) -> int:
    return max(LEAST_ROWS, triton.next_power_of_2(group))


class Plan(NamedTuple):
    """How one program is cut, so that it keeps its sums in registers (see the compile check)."""

    warps: int
    stages: int
    """Pages under way at once."""


def plan(dtype: torch.dtype) -> Plan:
    return Plan(warps=8, stages=1) if dtype == torch.float32 else Plan(warps=4, stages=2)


@functools.cache
def processors(device: torch.device) -> int:
    """Multiprocessors of the device; 1 for the interpreter."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
