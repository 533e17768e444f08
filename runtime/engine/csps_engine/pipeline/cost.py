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
from dataclasses import dataclass, replace
from typing import Protocol

from csps_engine.core.plan import ExactMode
from csps_engine.model.config import ModelConfig
from csps_engine.pipeline.mode import split_heads
from csps_engine.pipeline.partition import Span, contiguous, zigzag

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
    merge_seconds: float = 0.0
    """Of joining two partial results of one query."""
    meeting_seconds: float = 0.0
    """By which ranks that exchange after computing are later than the slowest of them would be alone."""


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
    merged_queries: float = 0.0
    """Partial results of a query that are joined with what is held of it."""


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
    """Work of a prompt of `tokens` tokens, cut at pages over `ranks` ranks."""
    attended = config.heads * config.head_dim
    element = config.head_dim * element_bytes
    if mode != "allToAll":
        spans = zigzag(tokens, ranks)
        shares = [_gathering(config, early, late) for early, late in spans]
        busiest = max(shares, key=_flops_and_merges)
        return replace(busiest, inward_bytes=_most_gathered(spans) * 2 * config.kv_heads * element)
    own = max(span.tokens for span in contiguous(tokens, ranks))
    linear, causal = own * token_flops(config), 2 * attended * tokens * tokens / ranks
    splits = split_heads(config, ranks)
    # The busiest rank's, in each of its roles: others' tokens of its heads come, its tokens of others' heads go.
    comes = [len(split.heads) + 2 * len(split.kv_heads) for split in splits]
    most = max(len(split.heads) for split in splits)
    inward = max((ranks - 1) * max(comes), sum(comes) - min(comes)) * own * element
    back = max((ranks - 1) * most, config.heads - min(len(split.heads) for split in splits)) * own * element
    # Over a rank's share, where heads don't split evenly.
    over = most * ranks / config.heads
    diagonal = 4 * attended * tokens / ranks
    return LayerWork(linear, 0.0, causal * over, inward, back, diagonal * over, tokens)


def _gathering(config: ModelConfig, early: Span, late: Span) -> LayerWork:
    """Of a rank with these chunks in the kvGather form, but for what it is sent."""
    own, pair = early.tokens + late.tokens, 4 * config.heads * config.head_dim
    visible = sum(span.tokens * (span.start + span.tokens / 2) for span in (early, late))
    mine = (early.tokens**2 + late.tokens**2) / 2 + early.tokens * late.tokens
    # The late chunk joins what it has of the early one, all what comes before, the late one what lies between.
    merged = (late.tokens if early.tokens else 0) + (own if early.start else 0)
    merged += late.tokens if late.start > early.stop else 0
    run = own / 2 if late.tokens else own
    return LayerWork(own * token_flops(config), pair * mine, pair * (visible - mine), 0.0, 0.0, pair * own, run, merged)


def _flops_and_merges(work: LayerWork) -> tuple[float, float]:
    return work.linear_flops + work.local_flops + work.remote_flops, work.merged_queries


def _most_gathered(spans: Sequence[tuple[Span, Span]]) -> int:
    """Tokens whose K and V one rank sends or receives, whichever is most."""
    comes = [max(early.start, late.start - early.tokens if late.tokens else 0) for early, late in spans]
    # An early chunk goes to every other rank, a late one to those before.
    goes = [(len(spans) - 1) * early.tokens + rank * late.tokens for rank, (early, late) in enumerate(spans)]
    return max(comes + goes)


def token_flops(config: ModelConfig) -> float:
    """Of one token's dense products in a layer."""
    attended = config.heads * config.head_dim
    return 2 * config.hidden * (2 * attended + 2 * config.kv_heads * config.head_dim + 3 * config.ffn)


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
    merging = work.merged_queries * speeds.merge_seconds
    return local / speeds.attention_flops, remote / speeds.attention_flops + merging


def layer_seconds(work: LayerWork, speeds: Speeds, pieces: int) -> float:
    """Of one layer, dense products included."""
    meeting = speeds.meeting_seconds if work.inward_bytes > 0 else 0.0
    return work.linear_flops / speeds.linear_flops + attention_seconds(work, speeds, pieces) + meeting


def best_pieces(work: LayerWork, speeds: Speeds, allowed: Sequence[int]) -> int:
    """The count of `allowed` (rising from 1) with the shortest layer, or 1 when that saves less than MIN_GAIN."""
    whole = layer_seconds(work, speeds, 1)
    best = min(allowed, key=lambda count: layer_seconds(work, speeds, count))
    return best if layer_seconds(work, speeds, best) < (1 - MIN_GAIN) * whole else 1
