"""Runs a trained network with attention that sees chosen blocks of the context alone, and says what that cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from bench.recall.network import RecallNetwork, exact
from bench.recall.sheets import KEY_BLOCK, Sheets

Choose = Callable[[Tensor, Tensor], Tensor]
"""From queries [B, H, Q, D] that follow a context of keys [B, H, C, T, D] to what they see of it: [B, H, Q, C] bool."""


class Verdict(NamedTuple):
    """Of the questions: answers that are right, attention mass that was seen, relative error of attention's output,
    and blocks of the context that a query saw."""

    accuracy: float
    recall: float
    error: float
    blocks: float


class _Tally:
    def __init__(self, asked: Tensor) -> None:
        self._asked = asked.unsqueeze(1)  # [B, 1, Q]
        self.mass: list[float] = []
        self.blocks: list[float] = []
        self.wrong = self.size = 0.0

    def add(self, share: Tensor, blocks: Tensor, out: Tensor, true: Tensor) -> None:
        """Share of mass [B, H, Q], blocks seen [B, H, Q], output and exact output [B, H, Q, D]."""
        asked = self._asked.expand_as(share)
        self.mass.append(float(share[asked].mean()))
        self.blocks.append(float(blocks[asked].float().mean()))
        self.wrong += float((out - true)[asked].square().sum())
        self.size += float(true[asked].square().sum())


def judge(network: RecallNetwork, sheets: Sheets, choose: Choose) -> Verdict:
    """The context is computed exactly; what follows sees all of itself and chosen blocks of the context."""
    context = sheets.context
    tally = _Tally(sheets.asked[:, context:])

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        whole = exact(q, k, v)
        asking, later = q[:, :, context:], q.shape[2] - context
        chosen = choose(asking, k[:, :, :context].unflatten(2, (-1, KEY_BLOCK)))
        own = torch.ones(later, later, dtype=torch.bool).tril().expand(*chosen.shape[:3], -1)
        seen = torch.cat([chosen.repeat_interleave(KEY_BLOCK, 3), own], 3)
        scores = asking @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        causal = torch.cat([torch.ones(later, context, dtype=torch.bool), own[0, 0]], 1)
        scores = scores.masked_fill(~causal, float("-inf"))
        share = (scores.masked_fill(~seen, float("-inf")).logsumexp(-1) - scores.logsumexp(-1)).exp()
        out = scores.masked_fill(~seen, float("-inf")).softmax(-1) @ v
        tally.add(share, chosen.sum(3), out, whole[:, :, context:])
        return torch.cat([whole[:, :, :context], out], 2)

    with torch.no_grad():
        logits = network(sheets.tokens, attention)[:, :-1][sheets.asked[:, :-1]]
    right = (logits.argmax(-1) == sheets.tokens[:, 1:][sheets.asked[:, :-1]]).float().mean()
    layers = len(tally.mass)
    return Verdict(
        float(right), sum(tally.mass) / layers, (tally.wrong / tally.size) ** 0.5, sum(tally.blocks) / layers
    )
