"""Measures, on all ranks of a mesh together, what the cost model needs to know. Takes well under a second.

Ranks start each measurement together and keep the slowest one's time, so that all end with the same numbers and
choose alike. Times are over spans longer than a CPU quota's period, or they would see only its good part.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import torch

from csps_engine.attention.attend import attend
from csps_engine.comm.divided import DividedMesh
from csps_engine.comm.mesh import Mesh
from csps_engine.csa.settings import CsaSettings
from csps_engine.model.llama import Llama
from csps_engine.pipeline.cost import LayerWork, Speeds, best_pieces
from csps_engine.pipeline.csa_attention import CsaAttention
from csps_engine.pipeline.sparse_cost import sparse_pays

SPAN_SECONDS = 0.15
MAX_REPEATS = 2000
FIRST_BYTES, LARGEST_BYTES = 1 << 16, 1 << 24
SMALL_BYTES, SMALL_REPEATS = 1 << 10, 8
LINEAR_TOKENS = 128
QUERIES, KEYS = 256, 1024
CHOOSING_TOKENS = 128, 512
"""Of each rank: whole pages in two chunks."""


class MeasuredPieces:
    """The cost model's choice from speeds measured on this mesh, when first asked. Collective."""

    def __init__(self, model: Llama, mesh: Mesh) -> None:
        self._model = model
        self._mesh = mesh
        self.speeds: Speeds | None = None

    def choose(self, work: LayerWork, allowed: Sequence[int]) -> int:
        return best_pieces(work, self._measured(), allowed) if len(allowed) > 1 else 1

    def pays(self, sparse: LayerWork, exact: LayerWork, allowed: Sequence[int], own_tokens: float) -> bool:
        speeds = self._measured()
        return sparse_pays(sparse, exact, speeds, best_pieces(exact, speeds, allowed), own_tokens)

    def _measured(self) -> Speeds:
        if self.speeds is None:
            self.speeds = measure_speeds(self._model, self._mesh)
        return self.speeds


def measure_speeds(model: Llama, mesh: Mesh) -> Speeds:
    """Collective. Exchanges are measured by two sizes, so that latency and a shaper's burst do not count as rate."""
    with torch.inference_mode():
        linear_flops = _linear_flops(model, mesh)
        attention_flops, piece_seconds = _attention(model, mesh)
        link_bytes, exchange_seconds = _link(mesh)
        choosing = _choosing(model, mesh, attention_flops)
        return Speeds(linear_flops, attention_flops, link_bytes, exchange_seconds, piece_seconds, *choosing)


def _linear_flops(model: Llama, mesh: Mesh) -> float:
    config = model.config
    x = torch.ones(LINEAR_TOKENS, config.hidden, dtype=model.dtype, device=model.device)
    turn = model.turn(torch.arange(LINEAR_TOKENS, device=model.device))

    def layer() -> None:
        q, _, _ = model.qkv(0, x, turn)
        model.finish(0, x.clone(), q)

    attended = config.heads * config.head_dim
    widths = config.hidden * (2 * attended + 2 * config.kv_heads * config.head_dim + 3 * config.ffn)
    return 2 * LINEAR_TOKENS * widths / _slowest(mesh, layer)


def _attention(model: Llama, mesh: Mesh) -> tuple[float, float]:
    config = model.config
    q = torch.ones(QUERIES, config.heads, config.head_dim, dtype=model.dtype, device=model.device)
    kv = torch.ones(config.kv_heads, KEYS, config.head_dim, dtype=model.dtype, device=model.device)
    long = _slowest(mesh, lambda: attend(q, kv, kv, causal=False))
    call = _slowest(mesh, lambda: attend(q[:2], kv[:, :2], kv[:, :2], causal=False))
    return 4 * config.heads * config.head_dim * QUERIES * KEYS / long, call


def _choosing(model: Llama, mesh: Mesh, attention_flops: float) -> tuple[float, float]:
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
        took = _slowest(mesh, lambda: attention.attend(q, kv, kv))
        return max(0.0, took - 2 * heads * size * own * own / attention_flops)

    short, long = CHOOSING_TOKENS
    first, second = choosing(short), choosing(long)
    each = max(0.0, (second - first) / (long - short))
    return max(0.0, first - short * each), each


def _link(mesh: Mesh) -> tuple[float, float]:
    """Bytes a second, and seconds of a small exchange."""
    if mesh.size == 1:
        return float("inf"), 0.0
    _exchange(mesh, FIRST_BYTES)
    latency = min(_exchange_seconds(mesh, SMALL_BYTES) for _ in range(SMALL_REPEATS))
    size, took = FIRST_BYTES, _exchange_seconds(mesh, FIRST_BYTES)
    while took < SPAN_SECONDS / 2 and size < LARGEST_BYTES:
        size *= 4
        took = _exchange_seconds(mesh, size)
    longer = _exchange_seconds(mesh, 2 * size)
    return size / max(longer - took, took / 4), latency


def _exchange_seconds(mesh: Mesh, each_way_bytes: int) -> float:
    return _slowest(mesh, lambda: _exchange(mesh, each_way_bytes), span_seconds=0.0)


def _exchange(mesh: Mesh, each_way_bytes: int) -> None:
    """Every rank sends and receives so many bytes, in equal parts from all others."""
    part = each_way_bytes // max(1, mesh.size - 1)
    splits = [part if rank != mesh.rank else 0 for rank in range(mesh.size)]
    rows = torch.zeros(sum(splits), dtype=torch.uint8, device=mesh.device)
    mesh.all_to_all_single(torch.empty_like(rows), rows, splits, splits).wait()


def _slowest(mesh: Mesh, work: Callable[[], object], span_seconds: float = SPAN_SECONDS) -> float:
    """Seconds of `work` on the slowest rank, equal on all ranks.

    Repeated over `span_seconds` after two trials, as often on each rank; 0: once, without a trial.
    """
    if span_seconds == 0:
        return _agree(mesh, _timed(mesh, work, 1))
    work()
    trial = _agree(mesh, _timed(mesh, work, 1))
    return _agree(mesh, _timed(mesh, work, min(MAX_REPEATS, 1 + int(span_seconds / trial))))


def _timed(mesh: Mesh, work: Callable[[], object], repeats: int) -> float:
    _settle(mesh)
    began = time.perf_counter()
    for _ in range(repeats):
        work()
        _settle(mesh)
    return (time.perf_counter() - began) / repeats


def _settle(mesh: Mesh) -> None:
    if mesh.device.type == "cuda":
        torch.cuda.synchronize(mesh.device)


def _agree(mesh: Mesh, seconds: float) -> float:
    """The most that any process of any rank says."""
    most = _most(mesh, seconds)
    return _most(mesh.within, most) if isinstance(mesh, DividedMesh) else most


def _most(mesh: Mesh, seconds: float) -> float:
    every = torch.empty(mesh.size, 1, dtype=torch.float64, device=mesh.device)
    mesh.all_gather_into(every, torch.full((1,), seconds, dtype=torch.float64, device=mesh.device)).wait()
    return float(every.max())
