"""Which blocks are worth fetching: what keeps queries within their tolerance, and no more than a budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from csps_engine.csa.need import Need


class Wishes(NamedTuple):
    """What the KV heads of a rank would fetch, budgets aside, of the blocks they may see."""

    wanted: Tensor  # [K, C] bool
    score: Tensor  # [K, C]


def wish(needs: Sequence[Need]) -> Wishes:
    """By KV head: the blocks that its queries need together, and those that one alone insists on."""
    wanted = torch.stack([one.insisted for one in needs])
    for flags, one in zip(wanted, needs, strict=True):
        flags[one.order[: one.enough]] = True
    return Wishes(wanted, torch.stack([one.score for one in needs]))


class Choice(NamedTuple):
    """What a level fetches."""

    wanted: Tensor  # [K, C] bool
    cut: int
    """Blocks left out for the budget's sake, over all KV heads."""


def within(wishes: Wishes, count: int) -> Choice:
    """The `count` most needed of the wished blocks; the KV heads compete for them."""
    asked = int(wishes.wanted.sum())
    if asked <= count:
        return Choice(wishes.wanted, 0)
    score = wishes.score.masked_fill(~wishes.wanted, -1.0).flatten()
    best = score.argsort(descending=True, stable=True)[:count]
    chosen = torch.zeros_like(wishes.wanted).flatten()
    chosen[best] = True
    return Choice(chosen.view_as(wishes.wanted), asked - count)
