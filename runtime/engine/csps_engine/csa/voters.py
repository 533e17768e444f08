"""The queries that say what their rank needs, and the weight of the keys that they have before anything is fetched."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from csps_engine.attention.listed import BLOCK_TOKENS
from csps_engine.csa.worth import Tiles

RUN = 64
"""Voters whose scores exist at once."""


class Voters(NamedTuple):
    """Queries at local indices `at` [V], rising."""

    at: Tensor
    q: Tensor  # [V, H, D]
    blocks: Tensor  # [V, H, C] log weights of own keys up to each, by BLOCK_TOKENS keys
    lse: Tensor  # [V, H], over them all
    tiles: Tiles
    """Of all queries."""


def hear(q: Tensor, k: Tensor, at: Tensor, tiles: Tiles) -> Voters:
    """Of own queries q [T, H, D] those at `at`, given own keys k [K, n, D]."""
    voting = q[at]
    blocks = voting.new_full((*voting.shape[:2], -(-k.shape[1] // BLOCK_TOKENS)), -math.inf, dtype=torch.float32)
    for start in range(0, len(at), RUN):
        run = slice(start, start + RUN)
        weights = _own(voting[run], k, at[run])
        blocks[run, :, : weights.shape[2]] = weights
    return Voters(at, voting, blocks, blocks.logsumexp(-1), tiles)


def _own(q: Tensor, k: Tensor, at: Tensor) -> Tensor:
    """Log weights [V, H, blocks] of the keys up to each query, by block."""
    kv_heads, (tokens, heads, size) = k.shape[0], q.shape
    first, keys = int(at[0]), int(at[-1]) + 1
    grouped = q.float().unflatten(1, (kv_heads, -1)).permute(1, 0, 2, 3).flatten(1, 2) * size**-0.5  # [K, V*G, D]
    scores = grouped.new_full((kv_heads, tokens, heads // kv_heads, -(-keys // BLOCK_TOKENS) * BLOCK_TOKENS), -math.inf)
    scores[..., :keys] = torch.bmm(grouped, k[:, :keys].float().transpose(1, 2)).unflatten(1, (tokens, -1))
    unseen = torch.arange(first, keys, device=q.device) > at.unsqueeze(1)
    scores[..., first:keys].masked_fill_(unseen.unsqueeze(1), -math.inf)
    weights = scores.unflatten(3, (-1, BLOCK_TOKENS)).logsumexp(-1)
    return weights.transpose(0, 1).flatten(1, 2)
