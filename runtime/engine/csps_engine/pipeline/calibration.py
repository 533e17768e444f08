"""Measures, on all ranks of a mesh together, what the cost model needs to know. Takes a second or so.

Ranks start each measurement together and keep the slowest one's time, so that all end with the same numbers and
choose alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch

from csps_engine.attention.attend import attend
from csps_engine.attention.partial import merge, nothing
from csps_engine.comm.mesh import Mesh
from csps_engine.csa.settings import CsaSettings
from csps_engine.model.llama import Llama
from csps_engine.pipeline.cost import LayerWork, Speeds, token_flops
from csps_engine.pipeline.csa_attention import CsaAttention
from csps_engine.pipeline.sparse_cost import ByCost
from csps_engine.pipeline.stopwatch import SPAN_SECONDS, Stopwatch

FIRST_BYTES, LARGEST_BYTES = 1 << 16, 1 << 24
SMALL_BYTES, SMALL_REPEATS = 1 << 10, 8
LINEAR_TOKENS = 256
MEETING_TOKENS = 64
QUERIES, KEYS, CAUSAL_TOKENS = 256, 1024, 512
CHOOSING_TOKENS = 128, 512
"""Of each rank: whole pages in two chunks."""


class MeasuredPieces:
    """The cost model's choice from speeds measured on this mesh, when first asked. Collective."""

    def __init__(self, model: Llama, mesh: Mesh) -> None:
        self._model = model
        self._mesh = mesh
        self.speeds: Speeds | None = None

    def choose(self, work: LayerWork, allowed: Sequence[int]) -> int:
        return self._by_cost().choose(work, allowed) if len(allowed) > 1 else 1

    def pays(self, sparse: LayerWork, exact: LayerWork, allowed: Sequence[int], own_tokens: float) -> bool:
        return self._by_cost().pays(sparse, exact, allowed, own_tokens)

    def _by_cost(self) -> ByCost:
        if self.speeds is None:
            self.speeds = measure_speeds(self._model, self._mesh)
        return ByCost(self.speeds)


def measure_speeds(model: Llama, mesh: Mesh) -> Speeds:
    """Collective. Exchanges are measured by two sizes, so that latency and a shaper's burst do not count as rate."""
    watch = Stopwatch(mesh)
    with torch.inference_mode():
        linear_flops = _linear_flops(model, watch)
        attention_flops, piece_seconds, masked_keys = _attention(model, watch)
        link_bytes, exchange_seconds = _link(mesh, watch)
        choosing_seconds, choosing_token_seconds = _choosing(model, mesh, watch, attention_flops, masked_keys)
        return Speeds(
            linear_flops=linear_flops,
            attention_flops=attention_flops,
            link_bytes=link_bytes,
            exchange_seconds=exchange_seconds,
            piece_seconds=piece_seconds,
            choosing_seconds=choosing_seconds,
            choosing_token_seconds=choosing_token_seconds,
            masked_keys=masked_keys,
            merge_seconds=_merge_seconds(model, watch),
            meeting_seconds=max(0.0, _meeting_seconds(model, mesh, watch) - exchange_seconds),
        )


def _linear_flops(model: Llama, watch: Stopwatch) -> float:
    return LINEAR_TOKENS * token_flops(model.config) / watch.slowest(_linear(model, LINEAR_TOKENS))


def _linear(model: Llama, tokens: int) -> Callable[[], None]:
    """The dense products of a layer."""
    x = torch.ones(tokens, model.config.hidden, dtype=model.dtype, device=model.device)
    turn = model.turn(torch.arange(tokens, device=model.device))

    def layer() -> None:
        q, _, _ = model.qkv(0, x, turn)
        model.finish(0, x.clone(), q)

    return layer


def _merge_seconds(model: Llama, watch: Stopwatch) -> float:
    """Of folding a partial result of one query into what is held of it."""
    config = model.config
    q = torch.ones(QUERIES, config.heads, config.head_dim, dtype=model.dtype, device=model.device)
    held, more = nothing(q), nothing(q)

    def fold() -> None:
        both = merge(held, more)
        held.out[:], held.lse[:] = both

    return watch.slowest(fold) / QUERIES


def _meeting_seconds(model: Llama, mesh: Mesh, watch: Stopwatch) -> float:
    if mesh.size == 1:
        return 0.0
    return watch.meeting(_linear(model, MEETING_TOKENS), lambda: _exchange(mesh, SMALL_BYTES))


def _attention(model: Llama, watch: Stopwatch) -> tuple[float, float, float]:
    """Operations a second, seconds of a call, and keys that a masked query costs in vain."""
    config = model.config
    q = torch.ones(CAUSAL_TOKENS, config.heads, config.head_dim, dtype=model.dtype, device=model.device)
    kv = torch.ones(config.kv_heads, KEYS, config.head_dim, dtype=model.dtype, device=model.device)
    whole = watch.slowest(lambda: attend(q[:QUERIES], kv, kv, causal=False))
    call = watch.slowest(lambda: attend(q[:2], kv[:, :2], kv[:, :2], causal=False))
    run = kv[:, :CAUSAL_TOKENS]
    causal = watch.slowest(lambda: attend(q, run, run, causal=True))
    keys_of_query = causal / whole * QUERIES * KEYS / CAUSAL_TOKENS
    flops = 4 * config.heads * config.head_dim * QUERIES * KEYS / whole
    return flops, call, max(0.0, keys_of_query - CAUSAL_TOKENS / 2)


def _choosing(
    model: Llama, mesh: Mesh, watch: Stopwatch, attention_flops: float, masked_keys: float
) -> tuple[float, float]:
    """Seconds of choosing in a sparse layer and for each own token of it: from two lengths of prompt, of which nothing
    is fetched, less the attention to own keys."""
    if mesh.size == 1:
        return 0.0, 0.0
    settings = dataclasses.replace(CsaSettings(), tolerance=1.0, quality_floor=0.0, dense_tokens=0)
    heads, size = model.config.heads, model.config.head_dim

    def choosing(own: int) -> float:
        attention = CsaAttention(mesh, own * mesh.size, settings)
        q = torch.ones(own, heads, size, dtype=model.dtype, device=model.device)
        kv = torch.ones(model.config.kv_heads, own, size, dtype=model.dtype, device=model.device)
        took = watch.slowest(lambda: attention.attend(q, kv, kv))
        # An early and a late chunk, each causal in itself.
        own_pairs = own * (own / 2 + min(masked_keys, own / 4))
        return max(0.0, took - 4 * heads * size * own_pairs / attention_flops)

    short, long = CHOOSING_TOKENS
    first, second = choosing(short), choosing(long)
    each = max(0.0, (second - first) / (long - short))
    return max(0.0, first - short * each), each


def _link(mesh: Mesh, watch: Stopwatch) -> tuple[float, float]:
    """Bytes a second, and seconds of a small exchange."""
    if mesh.size == 1:
        return float("inf"), 0.0

    def exchange(size: int) -> float:
        return watch.once(lambda: _exchange(mesh, size))

    exchange(FIRST_BYTES)
    latency = min(exchange(SMALL_BYTES) for _ in range(SMALL_REPEATS))
    size, took = FIRST_BYTES, exchange(FIRST_BYTES)
    while took < SPAN_SECONDS / 2 and size < LARGEST_BYTES:
        size *= 4
        took = exchange(size)
    longer = exchange(2 * size)
    return size / max(longer - took, took / 4), latency


def _exchange(mesh: Mesh, each_way_bytes: int) -> None:
    """Every rank sends and receives so many bytes, in equal parts from all others."""
    part = each_way_bytes // max(1, mesh.size - 1)
    splits = [part if rank != mesh.rank else 0 for rank in range(mesh.size)]
    rows = torch.zeros(sum(splits), dtype=torch.uint8, device=mesh.device)
    mesh.all_to_all_single(torch.empty_like(rows), rows, splits, splits).wait()
