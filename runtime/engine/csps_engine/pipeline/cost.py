"""What a layer of prefill costs, and in how many pieces its attention is best exchanged.

Two resources, each doing one thing at a time in a fixed order: the link (pieces inward, then their returns) and the
compute unit (what needs no exchange, then the pieces as they come). With M equal pieces
    piece i has arrived    a_i = a_{i-1} + latency + inward/M
    and is computed        c_i = max(c_{i-1}, a_i) + remote/M + overhead      c_0 = local (overlaps with a_1)
    its output is back     r_i = max(r_{i-1}, c_i) + latency + back/M         r_0 = a_M
The attention has taken max(c_M, r_M). The number of pieces is small, so every feasible one is tried. More than one
must save MIN_GAIN of the layer, for the constants are measured and thus uncertain: pieces never make a layer slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from csps_engine.core.plan import ExactMode
from csps_engine.model.config import ModelConfig
from csps_engine.pipeline.mode import split_heads

MIN_GAIN = 0.02


@dataclass(frozen=True, slots=True)
class Speeds:
    """What one rank and its link do, measured; a second is of wall clock."""

    linear_flops: float
    """Per second, of the dense matrix products."""
    attention_flops: float
    """Per second without a mask, counting 4 per query, key, head and element."""
    link_bytes: float
    """Per second, into or out of one rank while all exchange."""
    exchange_seconds: float
    """Of an exchange of nothing."""
    piece_seconds: float
    """Of computing one piece more."""
    choosing_seconds: float = 0.0
    """Of choosing what sparse attention fetches, in one layer."""
    choosing_token_seconds: float = 0.0
    """The same of each own token."""
    masked_keys: float = 0.0
    """Keys per query that causal attention of a long run works out in vain: its kernel takes whole tiles of keys."""


@dataclass(frozen=True, slots=True)
class LayerWork:
    """One layer's work of the busiest rank."""

    linear_flops: float
    local_flops: float
    """Of attention that needs no exchange."""
    remote_flops: float
    inward_bytes: float
    """Before attention; the larger of what is sent and what is received."""
    back_bytes: float
    """After attention."""
    diagonal_flops: float = 0.0
    """Of one key more for each query of a causal call."""
    diagonal_run: float = 0.0
    """Queries of one such call."""


class PieceRule(Protocol):
    """Says in how many pieces a layer's attention is exchanged; every rank must say the same."""

    def choose(self, work: LayerWork, allowed: Sequence[int]) -> int:
        """One of `allowed`, which rise from 1. May be collective."""
        ...

    def pays(self, sparse: LayerWork, exact: LayerWork, allowed: Sequence[int], own_tokens: float) -> bool:
        """Whether a sparse layer is worth it where an exact one may be exchanged so. May be collective."""
        ...


@dataclass(frozen=True, slots=True)
class FixedPieces:
    """As many pieces as can be made, up to `most`."""

    most: int

    def choose(self, work: LayerWork, allowed: Sequence[int]) -> int:
        return max(count for count in allowed if count <= max(1, self.most))

    def pays(self, sparse: LayerWork, exact: LayerWork, allowed: Sequence[int], own_tokens: float) -> bool:
        """Nothing is known of costs here: who asked for sparse attention decided."""
        return True


def layer_work(config: ModelConfig, mode: ExactMode, tokens: int, ranks: int, element_bytes: int) -> LayerWork:
    """Work of a prompt of `tokens` tokens cut evenly over `ranks` ranks."""
    own = tokens / ranks
    attended = config.heads * config.head_dim
    widths = config.hidden * (2 * attended + 2 * config.kv_heads * config.head_dim + 3 * config.ffn)
    linear, causal = 2 * own * widths, 2 * attended * tokens * own
    diagonal = 4 * attended * own
    if mode == "local":
        return LayerWork(linear, causal, 0.0, 0.0, 0.0, diagonal, tokens)
    element = config.head_dim * element_bytes
    if mode == "kvGather":
        # Rank 0 receives every other chunk, the last rank sends both of its to every other.
        inward = (ranks - 1) * own * 2 * config.kv_heads * element
        # Own keys are seen by an early and a late chunk, each causal in itself.
        return LayerWork(linear, causal / ranks, causal * (1 - 1 / ranks), inward, 0.0, diagonal, own / 2)
    splits = split_heads(config, ranks)
    # The busiest rank's, in each of its roles: others' tokens of its heads come, its tokens of others' heads go.
    comes = [len(split.heads) + 2 * len(split.kv_heads) for split in splits]
    most = max(len(split.heads) for split in splits)
    inward = max((ranks - 1) * max(comes), sum(comes) - min(comes)) * own * element
    back = max((ranks - 1) * most, config.heads - min(len(split.heads) for split in splits)) * own * element
    busiest = most * ranks / config.heads
    return LayerWork(linear, 0.0, causal * busiest, inward, back, diagonal * busiest, tokens)


def attention_seconds(work: LayerWork, speeds: Speeds, pieces: int) -> float:
    """The recurrence of this file's head."""
    inward, back = work.inward_bytes / speeds.link_bytes, work.back_bytes / speeds.link_bytes
    local, remote = _computing(work, speeds)
    if inward == 0:
        return local + remote
    step = speeds.exchange_seconds + inward / pieces
    computed = local
    ends = []
    for piece in range(1, pieces + 1):
        computed = max(computed, piece * step) + remote / pieces + speeds.piece_seconds
        ends.append(computed)
    if back == 0:
        return computed
    returned = pieces * step
    for end in ends:
        returned = max(returned, end) + speeds.exchange_seconds + back / pieces
    return returned


def _computing(work: LayerWork, speeds: Speeds) -> tuple[float, float]:
    """Seconds of attention that needs no exchange and of what does."""
    # A run that is shorter than a tile has as many keys in vain as in use.
    masked = work.diagonal_flops * min(speeds.masked_keys, work.diagonal_run / 2)
    local, remote = work.local_flops, work.remote_flops
    if local > 0:
        local += masked
    else:
        remote += masked
    return local / speeds.attention_flops, remote / speeds.attention_flops


def layer_seconds(work: LayerWork, speeds: Speeds, pieces: int) -> float:
    """Of one layer, dense products included."""
    return work.linear_flops / speeds.linear_flops + attention_seconds(work, speeds, pieces)


def best_pieces(work: LayerWork, speeds: Speeds, allowed: Sequence[int]) -> int:
    """The count of `allowed` (rising from 1) with the shortest layer, or 1 when that saves less than MIN_GAIN."""
    whole = layer_seconds(work, speeds, 1)
    best = min(allowed, key=lambda count: layer_seconds(work, speeds, count))
    return best if layer_seconds(work, speeds, best) < (1 - MIN_GAIN) * whole else 1
