"""Settings of sparse prefill attention, checked when made; the same on every rank of a mesh."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

from csps_engine.core.plan import PAGE_TOKENS

PackingName = Literal["eightBit", "plain"]


class CsaError(ValueError):
    """The settings cannot hold. The message names the field."""


@dataclass(frozen=True, slots=True)
class Level:
    """Ranks within one kind of link of each other: `ranks` consecutive ones, numbered from a multiple of it."""

    ranks: int
    """0: all ranks there are."""
    budget: float
    """Share of the visible blocks of this level's ranks that may be fetched, over all KV heads."""

    def __post_init__(self) -> None:
        if self.ranks < 0:
            raise CsaError(f"a level needs 0 (all) or more ranks, not {self.ranks}")
        if not 0 <= self.budget <= 1:
            raise CsaError(f"a level's budget must be in [0, 1], not {self.budget}")


@dataclass(frozen=True, slots=True)
class CsaSettings:
    """What is fetched from other ranks. A rank's own keys and the prompt's tail are exact whatever is set here."""

    levels: tuple[Level, ...] = (Level(8, 1.0), Level(0, 1.0))
    """By rising size: a node's ranks, then the cluster's. A rank pays the budget of the first level it shares."""
    tolerance: float = 0.065
    """Share of its attention that a query may lose with the blocks left out, as their digests tell."""
    served: float = 0.99
    """Share of the queries that the tolerance is kept for."""
    gamma: float = 0.1
    """A block to which any query gives this share of its attention, as its digest tells, is wanted in any case."""
    skip_share: float = 0.05
    """Share of its attention that a query may lose with the blocks that were fetched but that its tile does not read,
    if each of them had as much as it may have: what is lost indeed is a hundredth of that."""
    skip_weight: float = 1.0
    """The same of values that are not read since their keys turned out to weigh little, over what a query holds
    without them; a hundredth of it is lost indeed."""
    tolerances: tuple[tuple[float, ...], ...] = ()
    """Tolerance by layer and KV head, instead of one for all: what calibration found. 1: fetch nothing."""
    quality_floor: float = 0.98
    """While the audited attention mass of a rank is on average below this, it fetches more than it would."""
    packing: PackingName = "eightBit"
    block_tokens: int = 32
    """Tokens that one digest describes and that are fetched together."""
    sink_tokens: int = 64
    """First tokens of the prompt, which every rank gets unasked."""
    recent_blocks: int = 1
    """Blocks before each own chunk, which come unasked."""
    tail_tokens: int = 64
    """Last tokens of the prompt, whose attention is exact over all keys."""
    vote_every: int = 8
    """One in so many queries votes."""
    most_voters: int = 512
    """Queries of a rank that vote, at most."""
    dense_tokens: int = 1024
    """Prompts of up to so many tokens are computed exactly."""
    dense_layers: int = 0
    """First layers that are computed exactly."""
    audits: int = 4
    """Queries per rank and layer whose exact attention mass is taken, to report what was covered."""

    def __post_init__(self) -> None:
        if not self.levels:
            raise CsaError("levels: at least one is needed")
        sizes = [level.ranks for level in self.levels]
        if 0 in sizes[:-1] or any(a >= b for a, b in itertools.pairwise(sizes) if b != 0):
            raise CsaError(f"levels: sizes must rise, not {sizes}")
        if any(b % a != 0 for a, b in itertools.pairwise(sizes)):
            raise CsaError(f"levels: each size must divide the next, not {sizes}")
        if self.block_tokens < 1 or PAGE_TOKENS % self.block_tokens != 0:
            raise CsaError(f"block_tokens must divide a page of {PAGE_TOKENS} tokens, not {self.block_tokens}")
        for field in ("tolerance", "gamma", "skip_share", "quality_floor"):
            if not 0 <= getattr(self, field) <= 1:
                raise CsaError(f"{field} must be in [0, 1], not {getattr(self, field)}")
        if self.skip_weight < 0:
            raise CsaError(f"skip_weight must be 0 or more, not {self.skip_weight}")
        if not 0 < self.served <= 1:
            raise CsaError(f"served must be in (0, 1], not {self.served}")
        for field in ("sink_tokens", "recent_blocks", "tail_tokens", "dense_tokens", "dense_layers", "audits"):
            if getattr(self, field) < 0:
                raise CsaError(f"{field} must be 0 or more, not {getattr(self, field)}")
        for field in ("vote_every", "most_voters"):
            if getattr(self, field) < 1:
                raise CsaError(f"{field} must be positive, not {getattr(self, field)}")

    def tolerance_of(self, layer: int, head: int) -> float:
        """The tolerance of a KV head."""
        return self.tolerances[layer][head] if self.tolerances else self.tolerance
