"""The queries that say what their rank needs, and the weight of the keys that they have before anything is fetched."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from csps_engine.csa.worth import Tiles

RUN = 64
"""Voters whose scores exist at once."""


class Voters(NamedTuple):
    """Queries at local indices `at` [V], rising."""

    at: Tensor
    q: Tensor  # [V, H, D]
    lse: Tensor  # [V, H], over own keys up to each
    tiles: Tiles
    """Of all queries."""


def hear(q: Tensor, k: Tensor, at: Tensor, tiles: Tiles) -> Voters:
    """Of own queries q [T, H, D] those at `at`, given own keys k [K, n, D]."""
    voting = q[at]
    if len(at) == 0:
        return Voters(at, voting, torch.zeros(voting.shape[:2], device=q.device), tiles)
    parts = [_own(part, k, places) for part, places in zip(voting.split(RUN), at.split(RUN), strict=True)]
    return Voters(at, voting, torch.cat(parts), tiles)


def _own(q: Tensor, k: Tensor, at: Tensor) -> Tensor:
    kv_heads, (tokens, heads, size) = k.shape[0], q.shape
    first, last = int(at[0]), int(at[-1])
    grouped = q.float().unflatten(1, (kv_heads, -1)).permute(1, 0, 2, 3).flatten(1, 2) * size**-0.5  # [K, V*G, D]
    scores = torch.bmm(grouped, k[:, : last + 1].float().transpose(1, 2)).unflatten(1, (tokens, -1))  # [K, V, G, n]
    unseen = torch.arange(first, last + 1, device=q.device) > at.unsqueeze(1)
    scores[..., first:].masked_fill_(unseen.unsqueeze(1), float("-inf"))
    return scores.logsumexp(-1).transpose(0, 1).reshape(tokens, heads)
