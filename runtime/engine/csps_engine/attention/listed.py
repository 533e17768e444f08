"""Attention of prompt queries over listed blocks of keys: each tile of queries reads its own blocks.

A list holds the blocks worth reading, all of whose keys its queries see. On a GPU the block-sparse kernel reads them,
on a CPU listed.c; where neither serves, the keys of each list are gathered for torch.
"""

from __future__ import annotations

import ctypes
import math
from pathlib import Path

import torch
from torch import Tensor

from csps_engine.attention.attend import attend
from csps_engine.attention.partial import Partial, merge
from csps_engine.kernels.blocks import BlockLists, KeyBlocks
from csps_engine.kernels.choice import kernels_for
from csps_engine.kernels.compiled import compiled

Keys = tuple[Tensor, Tensor]
SOURCE = Path(__file__).with_name("listed.c")
BLOCK_TOKENS, TILE_QUERIES = 32, 64
_ROWS = 4


class _Listed(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("q", "out", "lse", "k", "v", "row", "count", "begin", "end", "listed")),
        *((name, ctypes.c_void_p) for name in ("keys", "tile")),
        *((name, ctypes.c_size_t) for name in ("tokens", "heads", "lists", "size", "blocks", "tile_tokens")),
        ("scale", ctypes.c_float),
        ("least", ctypes.c_float),
    )


def tile_queries(q: Tensor) -> int:
    """Queries that share a list, for queries like q [T, H, D]."""
    kernels = kernels_for(q)
    return TILE_QUERIES if kernels is None else kernels.tile_queries(q.dtype, q.shape[-1])


def lists_by_code(q: Tensor) -> bool:
    """Whether listed.c serves queries like q [T, H, D]: fp32 on a CPU, heads of a multiple of 16."""
    fits = q.dtype == torch.float32 and q.device.type == "cpu" and q.shape[-1] % 16 == 0 and kernels_for(q) is None
    return fits and compiled(SOURCE) is not None


def attend_listed(
    held: Partial, q: Tensor, keys: Keys, blocks: KeyBlocks, lists: BlockLists, least: float = -math.inf
) -> Partial:
    """What queries q [T, H, D] have once they have read their lists of blocks of keys (k, v) [R, D].

    Lists are [n, tiles of `tile_queries` queries], n dividing H: of each head, or of the heads of each KV head. Blocks
    have up to BLOCK_TOKENS rows, and every query sees all that is listed for it. A block may be left out for queries
    that would give each of its keys less than e^least of the weight that they hold.
    """
    if q.shape[0] == 0 or lists.block.shape[0] == 0:
        return held
    kernels = kernels_for(q)
    if kernels is not None:
        positions = torch.zeros(q.shape[0], dtype=torch.int32, device=q.device)
        return merge(held, Partial(*kernels.attend_blocks(q, positions, keys, blocks, lists, BLOCK_TOKENS)))
    return _by_code(held, q, keys, blocks, lists, least) or _by_gathering(held, q, keys, blocks, lists)


def _by_code(
    held: Partial, q: Tensor, keys: Keys, blocks: KeyBlocks, lists: BlockLists, least: float
) -> Partial | None:
    """None where listed.c does not serve."""
    tokens, heads, size = q.shape
    library = compiled(SOURCE) if lists_by_code(q) else None
    if library is None:
        return None
    parts, count = lists.begin.shape[0], blocks.row.shape[0]
    # Copies: what is held is changed in place.
    out, lse = (part.clone(memory_format=torch.contiguous_format) for part in held)
    inputs = [part.contiguous() for part in (q, *keys, blocks.row, blocks.tokens, *lists)]
    room = torch.empty(count * size * BLOCK_TOKENS + (TILE_QUERIES * (heads // parts) + _ROWS) * (2 * size + 2))
    own, k, v, row, tokens_of, begin, end, listed = (part.data_ptr() for part in inputs)
    rooms = room.data_ptr(), room[count * size * BLOCK_TOKENS :].data_ptr()
    pointers = own, out.data_ptr(), lse.data_ptr(), k, v, row, tokens_of, begin, end, listed, *rooms
    work = _Listed(*pointers, tokens, heads, parts, size, count, TILE_QUERIES, size**-0.5, least)
    return Partial(out, lse) if library.csps_attend_listed(ctypes.byref(work)) else None


def _by_gathering(held: Partial, q: Tensor, keys: Keys, blocks: KeyBlocks, lists: BlockLists) -> Partial:
    group = q.shape[1] // lists.begin.shape[0]
    out, lse = held.out.clone(), held.lse.clone()
    steps = torch.arange(BLOCK_TOKENS, device=q.device)
    for head, (begins, ends) in enumerate(zip(lists.begin.tolist(), lists.end.tolist(), strict=True)):
        for tile, (begin, end) in enumerate(zip(begins, ends, strict=True)):
            listed = lists.block[begin:end].long()
            rows = (blocks.row[listed].unsqueeze(1) + steps)[steps < blocks.tokens[listed].unsqueeze(1)]
            where = slice(tile * TILE_QUERIES, (tile + 1) * TILE_QUERIES), slice(head * group, (head + 1) * group)
            k, v = (part[rows].unsqueeze(0) for part in keys)
            more = merge(Partial(out[where], lse[where]), attend(q[where].contiguous(), k, v, causal=False))
            out[where], lse[where] = more
    return Partial(out, lse)
