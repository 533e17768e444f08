"""What one layer's KV heads would fetch and cover at each tolerance, seen from every rank of a group.

Nothing is exchanged: one process has all queries and keys, and looks at them as each rank would.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from csps_engine.core.plan import PAGE_TOKENS
from csps_engine.csa.digest import digest
from csps_engine.csa.layout import Layout
from csps_engine.csa.need import Demand, expected_weight, need
from csps_engine.csa.selection import wish
from csps_engine.csa.settings import CsaSettings
from csps_engine.pipeline.partition import zigzag

GRID = (1.0, 0.7, 0.5, 0.4, 0.3, 0.25, 0.2, 0.16, 0.13, 0.1, 0.08, 0.065, 0.05, 0.04, 0.03, 0.02, 0.012, 0.006)
"""Tolerances that are tried, from fetching nothing to fetching nearly all."""
POOR = 0.9
"""A query that covers less of its attention is badly served."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Shares by tolerance and KV head, [len(GRID), K] each; curves of several prompts add up."""

    fetched: Tensor
    """Of the keys of other ranks that its queries may see."""
    poor: Tensor
    """Of the queries, those badly served."""
    missing: Tensor
    """Of the attention mass."""

    def __add__(self, other: Curve) -> Curve:
        return Curve(self.fetched + other.fetched, self.poor + other.poor, self.missing + other.missing)

    def __truediv__(self, count: int) -> Curve:
        return Curve(self.fetched / count, self.poor / count, self.missing / count)


class _View(NamedTuple):
    """Positions of one rank's asking queries, of what it holds, and of the candidates; [C, block] for the last."""

    voters: Tensor
    judges: Tensor
    held: Tensor
    candidates: Tensor
    visible: int


class LayerJudge:
    """Looks at layers of prompts of `tokens` tokens, as a group of `ranks` ranks would compute them."""

    def __init__(self, tokens: int, ranks: int, settings: CsaSettings) -> None:
        if tokens % (2 * ranks * PAGE_TOKENS) != 0:
            raise ValueError(f"tokens must be a multiple of {2 * ranks * PAGE_TOKENS} for {ranks} ranks, not {tokens}")
        self._settings = settings
        self._views = list(_views(tokens, ranks, settings))

    def curve(self, q: Tensor, k: Tensor) -> Curve:
        """Of queries [N, H, D] and keys [K, N, D]."""
        kv_heads = k.shape[0]
        group = q.shape[1] // kv_heads
        blocks = digest(k, self._settings.block_tokens)
        columns = [
            self._head(q[:, head * group : (head + 1) * group], k[head], blocks[:, head]) for head in range(kv_heads)
        ]
        return Curve(*(torch.stack(parts, 1) for parts in zip(*columns, strict=True)))

    def _head(self, q: Tensor, k: Tensor, digests: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows = torch.zeros(len(GRID))
        poor, missing = torch.zeros(len(GRID)), torch.zeros(len(GRID))
        visible = judged = 0
        for view in self._views:
            weights, lse = self._estimates(q[view.voters], k, digests, view)
            mass = _mass(q[view.judges], k, view)
            visible += view.visible
            judged += len(mass.held)
            for index, tolerance in enumerate(GRID):
                one = need(weights, lse, Demand(tolerance, self._settings.served, self._settings.gamma))
                wanted = wish([one]).wanted[0]
                covered = mass.held + mass.blocks[:, wanted].sum(1)
                unasked = view.visible - view.candidates.numel()
                rows[index] += unasked + int(wanted.sum()) * self._settings.block_tokens
                poor[index] += (covered < POOR).sum()
                missing[index] += (1 - covered).clamp_min(0).sum()
        return rows / max(1, visible), poor / max(1, judged), missing / max(1, judged)

    def _estimates(self, q: Tensor, k: Tensor, digests: Tensor, view: _View) -> tuple[Tensor, Tensor]:
        """Log weights of candidates and of what is held, by voter and query head."""
        at = view.voters.repeat_interleave(q.shape[1])
        scores = _scores(q, k[view.held]).masked_fill(view.held > at.unsqueeze(1), float("-inf"))
        block = view.candidates[:, 0] // self._settings.block_tokens
        weights = expected_weight(q.flatten(0, 1), digests[block], self._settings.block_tokens)
        return weights.masked_fill(view.candidates[:, 0] > at.unsqueeze(1), float("-inf")), scores.logsumexp(1)


class _Mass(NamedTuple):
    held: Tensor  # [Q]
    blocks: Tensor  # [Q, C]


def _mass(q: Tensor, k: Tensor, view: _View) -> _Mass:
    """True shares of attention, by judging query and query head."""
    at = view.judges.repeat_interleave(q.shape[1])
    scores = _scores(q, k).masked_fill(torch.arange(len(k)) > at.unsqueeze(1), float("-inf"))
    share = scores.softmax(1)
    return _Mass(
        share[:, view.held].sum(1), share[:, view.candidates.flatten()].unflatten(1, view.candidates.shape).sum(2)
    )


def _scores(q: Tensor, k: Tensor) -> Tensor:
    return q.flatten(0, 1).float() @ k.float().T * q.shape[-1] ** -0.5


def _views(tokens: int, ranks: int, settings: CsaSettings) -> Iterator[_View]:
    layout = Layout(zigzag(tokens, ranks), settings)
    block = torch.arange(settings.block_tokens)
    for rank in range(ranks):
        own = torch.cat([torch.arange(span.start, span.stop) for span in zigzag(tokens, ranks)[rank]])
        asking = own[: layout.regular(rank)]
        seen = [(s, b) for s in range(ranks) for b in range(layout.visible(rank, s))]
        given = {source: layout.given(rank, source) for source in range(ranks)}
        starts = {flag: [layout.first_position(s, b) for s, b in seen if given[s][b] == flag] for flag in (True, False)}
        unasked, candidates = (
            torch.tensor(starts[flag], dtype=torch.long).unsqueeze(1) + block for flag in (True, False)
        )
        held = torch.cat([own, unasked.flatten()]).sort().values
        every = settings.vote_every
        visible = len(seen) * settings.block_tokens
        yield _View(asking[::every], asking[every // 2 :: 2 * every], held, candidates, visible)
