"""Which form of exact sequence-parallel attention moves fewer bytes.

For N tokens on P ranks, h query and k KV heads of size e, b bytes an element, per rank and layer:
    allToAll  (N/P)(1 - 1/P) (2h + 2k') e b     q, k, v to the ranks of their heads, the output back;
                                                k' = KV heads summed over ranks, more than k when heads are shared
    kvGather  (1 - 1/P) N 2k e b                K and V of every rank to every rank; what no query there may see stays,
                                                so this is the busiest rank's, and the mean is 3/4 of it
so kvGather wins when P*k < h + k'. Both take any P. Heads that don't split evenly are exchanged only when asked for:
whoever has fewer waits for whoever has more.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from csps_engine.core.plan import ExactMode, PrefillMode
from csps_engine.model.config import ModelConfig


class ModeError(ValueError):
    """The mode asked for cannot serve this model at this degree."""


@dataclass(frozen=True, slots=True)
class HeadSplit:
    """Heads of one rank in the allToAll form."""

    heads: range
    kv_heads: range
    """Those that its query heads read; others may have them too."""
    group: int
    """Query heads that share a KV head in the model."""

    def readers(self) -> list[range]:
        """By KV head, the query heads that read it, counted within the share."""
        first, stop = self.heads.start, self.heads.stop
        return [
            range(max(first, kv * self.group) - first, min(stop, (kv + 1) * self.group) - first) for kv in self.kv_heads
        ]


def even(count: int, parts: int) -> list[range]:
    """`count` numbers cut into `parts` runs, whose lengths differ by one at most."""
    small, larger = divmod(count, parts)
    starts = [part * small + min(part, larger) for part in range(parts + 1)]
    return [range(a, b) for a, b in itertools.pairwise(starts)]


def split_heads(config: ModelConfig, ranks: int) -> list[HeadSplit]:
    """Shares of query heads, as even as can be, with the KV heads that they read; none for ranks beyond the heads."""
    group = config.group
    return [
        HeadSplit(heads, range(heads.start // group, -(-heads.stop // group)) if heads else range(0), group)
        for heads in even(config.heads, ranks)
    ]


def splits_evenly(config: ModelConfig, ranks: int) -> bool:
    """Whether all ranks get the same work: as many query heads, reading as many KV heads."""
    share, rest = divmod(config.heads, ranks)
    return rest == 0 and (share % config.group == 0 or config.group % share == 0)


def choose_mode(config: ModelConfig, ranks: int, asked: PrefillMode) -> ExactMode:
    """The form to run."""
    if ranks == 1:
        return "local"
    if asked != "auto":
        return asked
    if not splits_evenly(config, ranks):
        return "kvGather"
    held = sum(len(split.kv_heads) for split in split_heads(config, ranks))
    return "kvGather" if ranks * config.kv_heads < config.heads + held else "allToAll"
