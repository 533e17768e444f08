"""Ways to choose blocks: for each query as decode does, for a block of queries as prefill does."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bench.recall.judge import Choose
from bench.recall.scores import Score, by_engine_estimate, by_engine_range, by_mass, by_mean
from bench.recall.sheets import QUERY_BLOCK

RANKS = 4
"""Ranks over which the context's blocks are dealt, for choices that ranks make."""


def best(score: Score, budget: int) -> Choose:
    """Each query its `budget` best blocks."""
    return lambda q, k: _top(score(q, k), budget)


def best_of_each_rank(q: Tensor, k: Tensor) -> Tensor:
    """Every rank its own best block, unknowing of the others'."""
    scores = by_engine_range(q, k)
    dealt = scores.unflatten(-1, (-1, RANKS))  # block c is on rank c mod RANKS
    return (dealt == dealt.amax(-2, keepdim=True)).flatten(-2)


def near_the_maximum(share: float) -> Choose:
    """Owners keep blocks whose bound is within ln(1/share) of the largest of all ranks: one number is exchanged."""

    def choose(q: Tensor, k: Tensor) -> Tensor:
        scores = by_engine_range(q, k)
        return scores >= scores.amax(-1, keepdim=True) - math.log(1 / share)

    return choose


Vote = Callable[[Tensor, Tensor], Tensor]
"""From the queries of one block [B, H, T, D] and keys [B, H, C, T, D] to votes [B, H, C]."""


def one_choice_a_query_block(vote: Vote, budget: int) -> Choose:
    """All queries of a block see the `budget` blocks that it votes for."""

    def choose(q: Tensor, k: Tensor) -> Tensor:
        parts = [
            _top(vote(part, k), budget).unsqueeze(2).expand(-1, -1, QUERY_BLOCK, -1) for part in q.split(QUERY_BLOCK, 2)
        ]
        return torch.cat(parts, 2)

    return choose


def true_mass(q: Tensor, k: Tensor) -> Tensor:
    return _share(by_mass(q, k)).sum(2)


def highest_bound(q: Tensor, k: Tensor) -> Tensor:
    return by_engine_range(q, k).amax(2)


def highest_gain(q: Tensor, k: Tensor) -> Tensor:
    """The bound over the query's own log-sum-exp, of the blocks' expected weights: a query counts by its need."""
    return (by_engine_range(q, k) - by_engine_estimate(q, k).logsumexp(-1, keepdim=True)).amax(2)


def squared_share(q: Tensor, k: Tensor) -> Tensor:
    """The engine's order: mean squared share of attention that the digests lead one to expect."""
    return _share(by_engine_estimate(q, k)).square().mean(2)


def highest_mean_key(q: Tensor, k: Tensor) -> Tensor:
    return by_mean(q, k).amax(2)


def mean_by_mean(q: Tensor, k: Tensor) -> Tensor:
    return by_mean(q.mean(2, keepdim=True), k).squeeze(2)


def anti_diagonals(q: Tensor, k: Tensor) -> Tensor:
    """Sums over every eighth anti-diagonal of a block of scores, softmax over blocks, as XAttention does."""
    stride = 8
    rows = q.unflatten(2, (-1, stride)).flip(3).flatten(3)  # [B, H, T/s, s*D]
    columns = k.unflatten(3, (-1, stride)).flatten(4)  # [B, H, C, T/s, s*D]
    sums = torch.einsum("bhqd,bhctd->bhqct", rows, columns) * (q.shape[-1] ** -0.5 / stride)
    return sums.flatten(3).softmax(-1).unflatten(3, sums.shape[3:]).sum((2, 4))


def _share(weights: Tensor) -> Tensor:
    return weights.softmax(-1)


def _top(scores: Tensor, budget: int) -> Tensor:
    return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, scores.topk(budget, -1).indices, True)
