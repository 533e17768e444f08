"""What the attention kernels compute, written out in torch: one query and head at a time is all the cleverness.

The forms of the other kernels are `csa.digest`, `csa.votes` and `attention.partial`, which CPUs run.
"""

from __future__ import annotations

import torch
from torch import Tensor

from csps_engine.kernels.blocks import BlockLists, KeyBlocks


def attend_rows(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Attention (out [D], lse []) of one query q [D] over all of k, v [n, D], in fp32; 0 and -inf without keys."""
    if k.shape[0] == 0:
        return torch.zeros_like(q, dtype=torch.float32), torch.tensor(float("-inf"))
    scores = k.float() @ q.float() * q.shape[0] ** -0.5
    return torch.softmax(scores, 0) @ v.float(), torch.logsumexp(scores, 0)


def attend_blocks_reference(
    q: Tensor, positions: Tensor, keys: tuple[Tensor, Tensor], blocks: KeyBlocks, lists: BlockLists, tile: int
) -> tuple[Tensor, Tensor]:
    """`block_sparse.attend_blocks` for tiles of `tile` queries."""
    tokens, heads, _ = q.shape
    kv_heads, count = lists.begin.shape
    out, lse = torch.zeros(q.shape, dtype=torch.float32), torch.zeros(tokens, heads)
    for t in range(tokens):
        for head in range(heads):
            mine = (head * kv_heads // heads, min(t // tile, count - 1))
            listed = lists.block[int(lists.begin[mine]) : int(lists.end[mine])].tolist()
            rows = [
                int(blocks.row[c]) + i
                for c in listed
                for i in range(int(blocks.tokens[c]))
                if int(blocks.position[c]) < 0 or int(blocks.position[c]) + i <= int(positions[t])
            ]
            out[t, head], lse[t, head] = attend_rows(q[t, head], keys[0][rows], keys[1][rows])
    return out, lse


def attend_pages_reference(
    q: Tensor, pool: tuple[Tensor, Tensor], table: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """`paged_decode.attend_pages`."""
    count, heads, _ = q.shape
    kv_heads, _, page, size = pool[0].shape
    out, lse = torch.zeros(q.shape, dtype=torch.float32), torch.zeros(count, heads)
    for i in range(count):
        length = int(lengths[i])
        slots = table[i, : -(-length // page)].long()
        for head in range(heads):
            k, v = (part[head * kv_heads // heads, slots].reshape(-1, size)[:length] for part in pool)
            out[i, head], lse[i, head] = attend_rows(q[i, head], k, v)
    return out, lse
