"""Which form of exact sequence-parallel attention moves fewer bytes.

For N tokens on P ranks, h query and k KV heads of size e, b bytes an element, per rank and layer:
    allToAll  (N/P)(1 - 1/P) (2h + 2k') e b     q, k, v to the ranks of their heads, the output back;
                                                k' = KV heads summed over ranks, more than k when heads are shared
    kvGather  (1 - 1/P) N 2k e b                K and V of every rank to every rank; what no query there may see stays,
                                                so this is the busiest rank's, and the mean is 3/4 of it
so kvGather wins when P*k < h + k'. It takes any P; allToAll needs heads that split evenly.
"""

from __future__ import annotations

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


def split_heads(config: ModelConfig, ranks: int) -> list[HeadSplit] | None:
    """Equal shares of query heads with the KV heads they read, or None when there is no even split."""
    if config.heads % ranks != 0:
        return None
    share, group = config.heads // ranks, config.group
    if share % group != 0 and group % share != 0:
        return None
    splits = []
    for rank in range(ranks):
        heads = range(rank * share, (rank + 1) * share)
        splits.append(HeadSplit(heads, range(heads.start // group, (heads.stop - 1) // group + 1)))
    return splits


def choose_mode(config: ModelConfig, ranks: int, asked: PrefillMode) -> ExactMode:
    """The form to run. Raises ModeError when allToAll is asked for and impossible."""
    if ranks == 1:
        return "local"
    splits = split_heads(config, ranks)
    if asked == "allToAll" and splits is None:
        raise ModeError(f"{config.heads} query and {config.kv_heads} KV heads do not split evenly over {ranks} ranks")
    if asked != "auto":
        return asked
    if splits is None:
        return "kvGather"
    held = sum(len(split.kv_heads) for split in splits)
    return "kvGather" if ranks * config.kv_heads < config.heads + held else "allToAll"
