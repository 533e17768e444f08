"""What digests of key blocks say of a query's score there, and how exact they are.

Of keys k [B, H, C, T, D] (C blocks of T tokens) and queries q [B, H, Q, D], each gives scores [B, H, Q, C].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from csps_engine.csa.digest import digest, limits
from csps_engine.csa.need import expected_weight

Score = Callable[[Tensor, Tensor], Tensor]


def bound(q: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The most that a key within the limits [B, H, C, D] can score."""
    q = q * q.shape[-1] ** -0.5
    return q.clamp_min(0) @ high.transpose(-1, -2) + q.clamp_max(0) @ low.transpose(-1, -2)


def by_range(q: Tensor, k: Tensor) -> Tensor:
    """The bound of lowest and highest keys in fp32."""
    return bound(q, k.amin(3), k.amax(3))


def by_outward_range(bits: int) -> Score:
    """The same of limits rounded outward to steps of the block's largest element, as the engine does in 8 bits."""
    steps = 2 ** (bits - 1) - 1

    def score(q: Tensor, k: Tensor) -> Tensor:
        low, high = k.amin(3), k.amax(3)
        size = torch.maximum(low.abs(), high.abs()).amax(-1, keepdim=True) / steps
        return bound(q, (low / size).floor() * size, (high / size).ceil() * size)

    return score


def by_engine_range(q: Tensor, k: Tensor) -> Tensor:
    """The bound of the engine's own digests."""
    batch, heads, blocks, tokens, size = k.shape
    low, high = limits(digest(k.reshape(batch * heads, blocks * tokens, size), tokens))  # [C, B*H, D]
    low, high = (part.transpose(0, 1).reshape(batch, heads, blocks, size) for part in (low, high))
    return bound(q, low, high)


def by_engine_estimate(q: Tensor, k: Tensor) -> Tensor:
    """The weight that the engine expects of a block, from the same digests."""
    batch, heads, blocks, tokens, size = k.shape
    digests = digest(k.reshape(batch * heads, blocks * tokens, size), tokens)
    rows = [expected_weight(part, digests[:, i], tokens) for i, part in enumerate(q.flatten(0, 1))]
    return torch.stack(rows).unflatten(0, (batch, heads))


def by_mean(q: Tensor, k: Tensor) -> Tensor:
    """The mean key's score, from 16 bits."""
    return q @ k.mean(3).bfloat16().float().transpose(-1, -2) * q.shape[-1] ** -0.5


def by_mass(q: Tensor, k: Tensor) -> Tensor:
    """The true log weight of the block: what an oracle knows."""
    return (torch.einsum("bhqd,bhctd->bhqct", q, k) * q.shape[-1] ** -0.5).logsumexp(-1)
