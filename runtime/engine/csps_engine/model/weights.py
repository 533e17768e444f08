"""Weights of a model in memory, and how they are filled from named tensors of a file.

Every tensor's presence and shape is checked before the first byte is read or allocated; then tensors are read
one at a time into their place, so that the peak is the weights plus one source tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from csps_engine.model.config import ModelConfig, ModelError


@dataclass(slots=True)
class LayerWeights:
    """One decoder layer. Matrices are [out, in]."""

    attention_norm: Tensor  # [hidden]
    qkv: Tensor  # [(heads + 2*kv_heads)*head_dim, hidden]; q and k rows in interleaved-pairs RoPE order
    out: Tensor  # [hidden, heads*head_dim]
    ffn_norm: Tensor  # [hidden]
    gate_up: Tensor  # [2*ffn, hidden]
    down: Tensor  # [hidden, ffn]


@dataclass(slots=True)
class Weights:
    """All weights of a model."""

    embed: Tensor  # [vocab, hidden]
    layers: list[LayerWeights]
    norm: Tensor  # [hidden]
    head: Tensor  # [vocab, hidden]; the same tensor as embed when tied


@dataclass(frozen=True, slots=True)
class TensorNames:
    """What one file format calls the tensors; `{}` in the layer's names is the layer number."""

    embed: str
    norm: str
    head: str
    attention_norm: str
    q: str
    k: str
    v: str
    out: str
    ffn_norm: str
    gate: str
    up: str
    down: str
    halves_rope: bool
    """q and k rows are in rotate-halves order and must be reordered to interleaved pairs."""


class TensorSource(Protocol):
    """An open model file."""

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of a tensor, or None when there is none of that name."""
        ...

    def read(self, name: str) -> Tensor:
        """The tensor in a floating-point dtype, on the CPU."""
        ...


@dataclass(frozen=True, slots=True)
class _Fill:
    name: str
    shape: tuple[int, ...]
    target: Tensor
    rope_heads: int = 0
    """Reorder the rows of this many heads from halves to interleaved pairs."""


def load_weights(
    config: ModelConfig, source: TensorSource, names: TensorNames, dtype: torch.dtype, device: torch.device
) -> Weights:
    """Fill new weights from `source`. Raises ModelError naming the first missing or misshapen tensor."""
    _check(config, source, names)
    weights = _allocate(config, dtype, device)
    for fill in _fills(config, weights, names):
        tensor = source.read(fill.name)
        if fill.rope_heads:
            tensor = halves_to_pairs(tensor, fill.rope_heads)
        fill.target.copy_(tensor)
    return weights


def halves_to_pairs(rows: Tensor, heads: int) -> Tensor:
    """Reorder rows [heads*head_dim, in] so that the partners of a rotation, i and i + head_dim/2, are neighbours."""
    return rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def _check(config: ModelConfig, source: TensorSource, names: TensorNames) -> None:
    meta = _allocate(config, torch.float32, torch.device("meta"))
    for fill in _fills(config, meta, names):
        found = source.shape(fill.name)
        if found is None:
            raise ModelError(f"tensor {fill.name} is missing")
        if found != fill.shape:
            raise ModelError(f"tensor {fill.name} has shape {list(found)}, not {list(fill.shape)}")


def _allocate(c: ModelConfig, dtype: torch.dtype, device: torch.device) -> Weights:
    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=device)

    attended = c.heads * c.head_dim
    embed = empty(c.vocab, c.hidden)
    return Weights(
        embed=embed,
        layers=[
            LayerWeights(
                attention_norm=empty(c.hidden),
                qkv=empty(attended + 2 * c.kv_heads * c.head_dim, c.hidden),
                out=empty(c.hidden, attended),
                ffn_norm=empty(c.hidden),
                gate_up=empty(2 * c.ffn, c.hidden),
                down=empty(c.hidden, c.ffn),
            )
            for _ in range(c.layers)
        ],
        norm=empty(c.hidden),
        head=embed if c.tied_head else empty(c.vocab, c.hidden),
    )


def _fills(c: ModelConfig, w: Weights, names: TensorNames) -> Iterator[_Fill]:
    def whole(name: str, target: Tensor) -> _Fill:
        return _Fill(name, tuple(target.shape), target)

    yield whole(names.embed, w.embed)
    yield whole(names.norm, w.norm)
    if not c.tied_head:
        yield whole(names.head, w.head)
    attended, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
    for i, layer in enumerate(w.layers):
        q, k, v = layer.qkv.split([attended, kv, kv])
        gate, up = layer.gate_up.chunk(2)
        yield whole(names.attention_norm.format(i), layer.attention_norm)
        yield _Fill(names.q.format(i), tuple(q.shape), q, c.heads if names.halves_rope else 0)
        yield _Fill(names.k.format(i), tuple(k.shape), k, c.kv_heads if names.halves_rope else 0)
        yield whole(names.v.format(i), v)
        yield whole(names.out.format(i), layer.out)
        yield whole(names.ffn_norm.format(i), layer.ffn_norm)
        yield whole(names.gate.format(i), gate)
        yield whole(names.up.format(i), up)
        yield whole(names.down.format(i), layer.down)
