"""Whether sparse attention of a prompt is worth it on a group of ranks, by its cost beside that of the exact form.

A layer of it, on the busiest rank:
    dense products + choosing + max(own keys, the chosen ones on their way) + the chosen keys
Choosing (digests, votes, lists, small exchanges) is measured on the ranks, as a time for each layer and for each own
token. How much is fetched and read depends on the text and falls with length: what is assumed was measured on prose, at
4 ranks, in all layers and with default settings. The gain has to be MARGIN at least, for the exact form is never to be
faster.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from csps_engine.core.plan import AttentionKind, PrefillMode
from csps_engine.csa.settings import CsaSettings
from csps_engine.model.config import ModelConfig
from csps_engine.pipeline.cost import (
    LayerWork,
    PieceRule,
    Speeds,
    attention_seconds,
    best_pieces,
    layer_seconds,
    layer_work,
)
from csps_engine.pipeline.mode import choose_mode
from csps_engine.pipeline.pieces import piece_counts


class Shares(NamedTuple):
    """What sparse attention leaves of the exact one."""

    fetched: float
    """Of the rows that move."""
    own_read: float
    """Of the attention to own keys, in processor time."""
    fetched_read: float
    """Of that to other ranks' keys."""


MEASURED = {2048: Shares(0.66, 0.76, 0.60), 4096: Shares(0.57, 0.55, 0.42)}
"""By length of prompt, rising; made by `python -m bench.sparse_shares`."""
MARGIN = 0.07


@dataclass(frozen=True, slots=True)
class ByCost:
    """The piece rule of the cost model, by these speeds."""

    speeds: Speeds

    def choose(self, work: LayerWork, allowed: Sequence[int]) -> int:
        return best_pieces(work, self.speeds, allowed)

    def pays(self, sparse: LayerWork, exact: LayerWork, allowed: Sequence[int], own_tokens: float) -> bool:
        """Whether a layer saves MARGIN beside the exact form in its best pieces."""
        whole = layer_seconds(exact, self.speeds, self.choose(exact, allowed))
        return sparse_layer_seconds(sparse, self.speeds, own_tokens) < (1 - MARGIN) * whole


@dataclass(frozen=True, slots=True)
class Spread:
    """A prompt of `tokens` tokens over `ranks` ranks; `asked` is the form that its exact attention would have."""

    config: ModelConfig
    element_bytes: int
    asked: PrefillMode
    tokens: int
    ranks: int


def may_thin(tokens: int, ranks: int, settings: CsaSettings) -> bool:
    """Whether so many tokens on so many ranks are thinned where that is asked for."""
    return ranks > 1 and tokens > settings.dense_tokens


def attention_kind(prompt: Spread, settings: CsaSettings, rule: PieceRule) -> AttentionKind:
    """Of a prompt that may be thinned: sparse where it is spread and long enough, and `rule` says that it pays."""
    config, tokens, ranks = prompt.config, prompt.tokens, prompt.ranks
    if not may_thin(tokens, ranks, settings):
        return "dense"
    mode = choose_mode(config, ranks, prompt.asked)
    exact = layer_work(config, mode, tokens, ranks, prompt.element_bytes)
    sparse = sparse_work(config, tokens, ranks, prompt.element_bytes, settings)
    pays = rule.pays(sparse, exact, piece_counts(config, mode, tokens, ranks), tokens / ranks)
    return "sparse" if pays else "dense"


def sparse_work(config: ModelConfig, tokens: int, ranks: int, element_bytes: int, settings: CsaSettings) -> LayerWork:
    """Of a layer, beside choosing."""
    exact = layer_work(config, "kvGather", tokens, ranks, element_bytes)
    left = shares(tokens)
    row = 2 * config.head_dim * element_bytes
    packed = 2 * config.head_dim + 2 if settings.packing == "eightBit" else row
    return LayerWork(
        exact.linear_flops,
        left.own_read * exact.local_flops,
        left.fetched_read * exact.remote_flops,
        left.fetched * exact.inward_bytes * packed / row,
        0.0,
        left.own_read * exact.diagonal_flops,
        exact.diagonal_run,
    )


def shares(tokens: int) -> Shares:
    """Between measured lengths straight in the logarithm of the length, and beyond them as at the nearest."""
    lengths = list(MEASURED)
    nearest = min(max(tokens, lengths[0]), lengths[-1])
    shorter, longer = next(pair for pair in itertools.pairwise(lengths) if nearest <= pair[1])
    way = math.log(nearest / shorter) / math.log(longer / shorter)
    return Shares(*(a + way * (b - a) for a, b in zip(MEASURED[shorter], MEASURED[longer], strict=True)))


def sparse_layer_seconds(work: LayerWork, speeds: Speeds, own_tokens: float) -> float:
    """Of one layer."""
    choosing = speeds.choosing_seconds + own_tokens * speeds.choosing_token_seconds
    return work.linear_flops / speeds.linear_flops + choosing + attention_seconds(work, speeds, 1)
