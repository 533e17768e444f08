"""Votes of queries for remote blocks: the most that any of them could gain.

    vote[u, c] = max over queries t, heads j of KV head u:   bound(q[t, j], block c) - lse[t, j]
where the bound is in units of scores and lse is of the keys already held: e^vote is the largest ratio of one key's
weight in the block to all the weight a query has. The maximum, not the sum: a sum buries the one query that needs
a block under the many that do not.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from csps_engine.csa.digest import limits
from csps_engine.kernels.choice import kernels_for

VoteRule = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From queries [T, H, D], their log-sum-exp [T, H] and digests [C, K, 2D+4] to votes [K, C]."""

_SCRATCH = 1 << 23
"""Scores that exist at once."""


def neediest(q: Tensor, lse: Tensor, digests: Tensor) -> Tensor:
    """Votes [K, C]; -inf when nobody votes."""
    kernels = kernels_for(q)
    if kernels is not None:
        return kernels.neediest(q, lse, digests)
    blocks, kv_heads = digests.shape[:2]
    tokens, heads, size = q.shape
    low, high = limits(digests)
    keys = torch.cat([high, low], -1).permute(1, 2, 0)  # [K, 2D, C]
    votes = torch.full((kv_heads, blocks), float("-inf"), device=q.device)
    if blocks == 0:
        return votes
    step = max(1, _SCRATCH // (heads * blocks))
    for begin in range(0, tokens, step):
        part = q[begin : begin + step].float() * size**-0.5
        signed = torch.cat([part.clamp_min(0), part.clamp_max(0)], -1)  # [T, H, 2D]
        grouped = signed.unflatten(1, (kv_heads, -1)).transpose(0, 1).flatten(1, 2)  # [K, T*G, 2D]
        held = lse[begin : begin + step].unflatten(1, (kv_heads, -1)).transpose(0, 1).flatten(1, 2)
        gain = torch.bmm(grouped, keys) - held.unsqueeze(-1)
        votes = torch.maximum(votes, gain.amax(1))
    return votes
