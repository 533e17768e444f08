"""Which blocks are worth fetching: the best voted, within a budget, while they can matter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Choice(NamedTuple):
    """What a level fetches."""

    wanted: Tensor  # [K, C] bool
    cut: int
    """Blocks that could matter, left out for the budget's sake, over all KV heads."""


def choose(votes: Tensor, open_blocks: Tensor, counts: Sequence[int], gamma: float) -> Choice:
    """Of votes [K, C], the counts[u] best of KV head u among open_blocks [C] whose possible share is gamma or more.

    The share of a query's attention that e^vote allows is e^vote / (1 + e^vote).
    """
    least = -math.inf if gamma == 0 else math.log(gamma / (1 - gamma))
    matters = (votes >= least) & open_blocks
    order = votes.masked_fill(~matters, -math.inf).argsort(dim=1, descending=True, stable=True)
    places = torch.arange(votes.shape[1], device=votes.device).expand_as(order)
    place = torch.empty_like(order).scatter_(1, order, places)
    limit = torch.tensor(counts, device=votes.device).unsqueeze(1)
    wanted = matters & (place < limit)
    return Choice(wanted, int((matters & ~wanted).sum()))
