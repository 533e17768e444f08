"""How much of their attention queries would give to blocks that they have not seen, estimated from digests.

A digest holds the lowest and the highest key of a block, channel by channel. Read as the range of `block` normal
draws (32 of them span 4.1 standard deviations on average), it tells the weight that a query q gives the block:
    log sum_x e^(q.x)  ~  log(block) + q.mid + sum_i (q_i sigma_i)^2 / 2          x the block's keys, q scaled
                       <= log(block) + sum_i max(q_i lo_i, q_i hi_i)
The estimate is held below the bound. A query's share of attention is that weight over all weights: of the keys that
it holds, known exactly, and of all blocks that it may see, estimated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from csps_engine.csa.digest import limits
from csps_engine.kernels.choice import kernels_for

EstimateRule = Callable[[Tensor, Tensor, int], Tensor]
"""From queries [Q, D] and digests [C, 2D+4] of one KV head, and the tokens of a block: log weights [Q, C]."""

_SPAN = {1: 1.0, 2: 1.128, 4: 2.059, 8: 2.847, 16: 3.532, 32: 4.139, 64: 4.687}
"""Mean range of so many standard normal draws."""


def spread_of_square(block_tokens: int) -> float:
    """From the square of half a range of so many draws to half their variance."""
    return 2 / _SPAN[block_tokens] ** 2


def expected_weight(q: Tensor, digests: Tensor, block_tokens: int) -> Tensor:
    """Log of the weight that each query is expected to give each block."""
    kernels = kernels_for(q)
    if kernels is not None:
        return kernels.expected_weight(q, digests, math.log(block_tokens), spread_of_square(block_tokens))
    low, high = limits(digests)
    return weights_of(q.float() * q.shape[-1] ** -0.5, (low.T, high.T), block_tokens).expected


class Weights(NamedTuple):
    """Logarithms of what queries give blocks."""

    expected: Tensor
    bound: Tensor


def weights_of(scaled: Tensor, ranges: tuple[Tensor, Tensor], block_tokens: int) -> Weights:
    """[..., Q, C] by the formulas of this file's head, of scaled queries [..., Q, D]; ranges: lo and hi [..., D, C]."""
    low, high = ranges
    middle, half = (low + high) / 2, (high - low) / 2
    centre = scaled @ middle
    spread = (scaled * scaled) @ (half * half) * spread_of_square(block_tokens)
    reach = scaled.abs() @ half
    expected, bound = (centre + part + math.log(block_tokens) for part in (torch.minimum(spread, reach), reach))
    return Weights(expected, bound)


class Need(NamedTuple):
    """Blocks by the need that one KV head's queries have of them."""

    order: Tensor  # [C], most needed first
    score: Tensor  # [C], by block: mean squared share
    enough: int
    """How many blocks, in this order, leave nearly all queries within the tolerance."""
    insisted: Tensor  # [C] bool, by block: whether a query alone would lose too much without it
    share: Tensor  # [Q, C]: what each query is expected to give each block


class Demand(NamedTuple):
    """What a KV head's queries are promised."""

    tolerance: float
    """Share of its attention that a query may lose with all that is left out. At 1 the head asks for nothing."""
    served: float
    """Share of the queries that this is kept for."""
    gamma: float
    """Share of its attention that no query at all may lose with one block."""


def need(weights: Tensor, held: Tensor, demand: Demand) -> Need:
    """From log weights [Q, C] of blocks, -inf where a query may not look, and [Q] of the keys held."""
    queries, blocks = weights.shape
    if queries == 0 or blocks == 0:
        nothing = torch.zeros(blocks, device=weights.device)
        order = torch.arange(blocks, device=weights.device)
        return Need(order, nothing, 0, nothing.bool(), torch.zeros_like(weights))
    total = torch.logaddexp(weights.logsumexp(1), held)
    share = torch.exp(weights - total.unsqueeze(1))
    score = share.square().mean(0)
    order = score.argsort(descending=True, stable=True)
    # Taking the best c blocks leaves a query the sum of its shares from place c on.
    lost = share[:, order].flip(1).cumsum(1).flip(1)
    wanted = (
        (lost >= demand.tolerance).sum(1)
        if demand.tolerance > 0
        else torch.full_like(order[:1], blocks).expand(queries)
    )
    place = min(queries, max(1, math.ceil(demand.served * queries)))
    insisted = share.amax(0) >= (demand.gamma if demand.tolerance < 1 else math.inf)
    return Need(order, score, int(wanted.kthvalue(place).values), insisted, share)
