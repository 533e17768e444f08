"""Synthetic queries, keys and values of one layer, cut over ranks, and the exact answer beside them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from rank_threads import on_ranks
from torch import Tensor

from csps_engine.attention.attend import attend_reference
from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import SparseReport
from csps_engine.csa.need import EstimateRule, expected_weight
from csps_engine.csa.settings import CsaSettings, Level
from csps_engine.pipeline.csa_attention import CsaAttention

BARE = CsaSettings(
    levels=(Level(0, 0.25),),
    sink_tokens=0,
    recent_blocks=0,
    tail_tokens=0,
    tolerance=0.0,
    gamma=0.0,
    skip_share=0.0,
    skip_weight=0.0,
    quality_floor=0.0,
    packing="plain",
    dense_layers=0,
    dense_tokens=0,
    vote_every=1,
)
"""Everything is wanted and the budget alone decides: what is left out shows."""

EVERYTHING = dataclasses.replace(BARE, levels=(Level(0, 1.0),))


@dataclass
class Layer:
    """q [N, H, D]; k, v [K, N, D]."""

    q: Tensor
    k: Tensor
    v: Tensor

    def dense(self) -> Tensor:
        return attend_reference(self.q, self.k, self.v, causal=True).out


@dataclass
class Run:
    """Sparse attention of a layer over all ranks."""

    out: Tensor  # [N, H, D], by position
    reports: list[SparseReport]
    sent_bytes: list[int]


def random_layer(tokens: int, heads: int = 4, kv_heads: int = 2, size: int = 16, seed: int = 0) -> Layer:
    draw = torch.Generator().manual_seed(seed)
    return Layer(
        torch.randn(tokens, heads, size, generator=draw),
        torch.randn(kv_heads, tokens, size, generator=draw),
        torch.randn(kv_heads, tokens, size, generator=draw),
    )


def run_sparse(
    layer: Layer, ranks: int, settings: CsaSettings, estimate: EstimateRule = expected_weight, layers: int = 1
) -> Run:
    """Sparse attention of the same layer `layers` times; the last output counts."""
    tokens = layer.q.shape[0]
    whole = torch.full_like(layer.q, float("nan"))

    def work(mesh: Mesh) -> tuple[SparseReport, int]:
        attention = CsaAttention(mesh, tokens, settings, estimate)
        own = torch.cat([torch.arange(span.start, span.stop) for span in attention.own])
        k, v = layer.k[:, own].contiguous(), layer.v[:, own].contiguous()
        for _ in range(layers):
            out = attention.attend(layer.q[own].contiguous(), k, v)
        whole[own] = out
        sent = mesh.sent_bytes
        return attention.report(), sent

    answers = on_ranks(ranks, work)
    return Run(whole, [report for report, _ in answers], [sent for _, sent in answers])


def error(out: Tensor, exact: Tensor) -> float:
    return float((out - exact).norm() / exact.norm())
