"""Attention of single queries over chosen blocks of their pages, each KV head having a list of its own.

On a CPU row.c reads the lists; on a GPU the paged kernel does, each KV head of a row standing in for a request and
each block for a page; where neither serves, the keys of each list are gathered for torch.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from csps_engine.attention.attend import attend
from csps_engine.attention.partial import Partial, nothing
from csps_engine.attention.row import SOURCE, serves
from csps_engine.kernels.choice import kernels_for
from csps_engine.kernels.compiled import compiled

Pages = tuple[Tensor, Tensor]
"""K and V of a layer [K, slots, page, D]."""


class ChosenBlocks(NamedTuple):
    """Lists of blocks of a pool: block b of a KV head holds its tokens [b * block_tokens, (b + 1) * block_tokens)."""

    listed: Tensor  # [n, K, W] int32; what stands behind a list's last block is not read
    lengths: Tensor  # [n, K] int32 tokens: all blocks of a list are full but the last
    block_tokens: int


class _Chosen(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("q", "k", "v", "out", "lse", "listed", "lengths")),
        *((name, ctypes.c_size_t) for name in ("rows", "kv_heads", "group", "size")),
        *((name, ctypes.c_size_t) for name in ("width", "block_tokens", "head_stride")),
    )


def attend_chosen(q: Tensor, pages: Pages, blocks: ChosenBlocks) -> Partial:
    """Attention of queries q [n, H, D], one a row, over their lists; 0 and -inf where a list is empty."""
    if q.shape[0] == 0:
        return nothing(q)
    if kernels_for(q) is not None:
        return _by_pages(q, pages, blocks)
    return _by_code(q, pages, blocks) or _by_gathering(q, pages, blocks)


def _by_pages(q: Tensor, pages: Pages, blocks: ChosenBlocks) -> Partial:
    kernels = kernels_for(q)
    assert kernels is not None
    count, heads, size = q.shape
    kv_heads, slots, page, _ = pages[0].shape
    each = slots * page // blocks.block_tokens
    # All KV heads lie one after another, so that one head of as many blocks stands for them all.
    flat = tuple(part.reshape(1, kv_heads * each, blocks.block_tokens, size) for part in pages)
    first = torch.arange(0, kv_heads * each, each, dtype=torch.int32, device=q.device)
    table = (blocks.listed + first.view(1, -1, 1)).flatten(0, 1)
    queries = q.reshape(count * kv_heads, heads // kv_heads, size)
    out, lse = kernels.attend_pages(queries, flat, table, blocks.lengths.flatten())
    return Partial(out.view(q.shape), lse.view(count, heads))


def _by_code(q: Tensor, pages: Pages, blocks: ChosenBlocks) -> Partial | None:
    """None where row.c does not serve."""
    k, v = pages
    count, heads, size = q.shape
    kv_heads, group = k.shape[0], heads // k.shape[0]
    if not serves(q, group):
        return None
    stride, library = k.stride(0), compiled(SOURCE)
    if library is None or any(part.stride(0) != stride or not part[0].is_contiguous() for part in pages):
        return None
    scaled, listed, lengths = (q * size**-0.5).contiguous(), blocks.listed.contiguous(), blocks.lengths.contiguous()
    out, lse = torch.empty_like(scaled), torch.empty(count, heads)
    pointers = (part.data_ptr() for part in (scaled, k, v, out, lse, listed, lengths))
    work = _Chosen(*pointers, count, kv_heads, group, size, listed.shape[2], blocks.block_tokens, stride)
    return Partial(out, lse) if library.csps_attend_chosen(ctypes.byref(work)) else None


def _by_gathering(q: Tensor, pages: Pages, blocks: ChosenBlocks) -> Partial:
    kv_heads = pages[0].shape[0]
    group = q.shape[1] // kv_heads
    keys, values = (part.flatten(1, 2) for part in pages)  # [K, tokens, D]
    steps = torch.arange(blocks.block_tokens, device=q.device)
    found = nothing(q)
    for row, lengths in enumerate(blocks.lengths.tolist()):
        for head, length in enumerate(lengths):
            used = -(-length // blocks.block_tokens)
            listed = blocks.listed[row, head, :used].long().unsqueeze(1)
            tokens = (listed * blocks.block_tokens + steps).flatten()[:length]
            heads = slice(head * group, (head + 1) * group)
            k, v = (part[head, tokens].unsqueeze(0) for part in (keys, values))
            part = attend(q[row : row + 1, heads], k, v, causal=False)
            found.out[row, heads], found.lse[row, heads] = part.out[0], part.lse[0]
    return found
