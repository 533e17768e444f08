"""Weights of a model in memory, and how they are filled from named tensors of a file.

Every tensor's presence and shape is checked before the first byte is read or allocated; then tensors are read
one at a time, and of each only this rank's part, so that the peak is the weights plus one layer's matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from csps_engine.model.config import WHOLE, ModelConfig, ModelError, Shard
from csps_engine.model.matrix import DenseMatrix, Matrix, StackedMatrix
from csps_engine.model.packed_matrix import Groups, PackedMatrix
from csps_engine.model.tensor_names import Part, TensorNames, layer_parts, model_parts


@dataclass(slots=True)
class LayerWeights:
    """One decoder layer. Heads and FFN columns are those of this rank."""

    attention_norm: Tensor  # [hidden]
    qkv: Matrix  # [(heads + 2*kv_heads)*head_dim, hidden]; q and k rows in interleaved-pairs RoPE order
    out: Matrix  # [hidden, heads*head_dim]
    ffn_norm: Tensor  # [hidden]
    gate_up: Matrix  # [2*ffn, hidden]
    down: Matrix  # [hidden, ffn]
    qkv_bias: Tensor | None = None  # [(heads + 2*kv_heads)*head_dim], in the order of qkv's rows
    qk_norm: Tensor | None = None  # [heads + kv_heads, head_dim], in the order of qkv's columns of a head


@dataclass(slots=True)
class Weights:
    """All weights of a model."""

    embed: Matrix  # [vocab, hidden]
    layers: list[LayerWeights]
    norm: Tensor  # [hidden]
    head: Matrix  # [vocab, hidden]; the same matrix as embed when tied

    def matrix_bytes(self) -> int:
        """Bytes of all matrices in memory."""
        per_layer = sum(m.nbytes for w in self.layers for m in (w.qkv, w.out, w.gate_up, w.down))
        return per_layer + self.embed.nbytes + (0 if self.head is self.embed else self.head.nbytes)


@dataclass(frozen=True, slots=True)
class WeightForm:
    """How weights are held."""

    dtype: torch.dtype = torch.float32
    device: torch.device = torch.device("cpu")
    packed: bool = False
    """Quantized matrices stay as they are in the file where there is a product for them."""


class TensorSource(Protocol):
    """An open model file."""

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of a tensor, or None when there is none of that name."""
        ...

    def read(self, part: Part) -> Tensor:
        """Rows and columns of a tensor in a floating-point dtype, on the CPU."""
        ...

    def groups(self, part: Part) -> Groups | None:
        """The same quantized, or None when the tensor isn't, or not in a way that can be kept."""
        ...


def load_weights(
    config: ModelConfig, source: TensorSource, names: TensorNames, form: WeightForm, shard: Shard = WHOLE
) -> Weights:
    """The part of the model `config` that `shard` holds.

    Raises ModelError naming the first missing or misshapen tensor.
    """
    for part in model_parts(config, names, shard):
        _check(part, source)
    loader = _Loader(source, form)
    embed = loader.matrix((Part(names.embed, (config.vocab, config.hidden)),))
    return Weights(
        embed=embed,
        layers=[_layer(config, names, shard, layer, loader) for layer in range(config.layers)],
        norm=loader.vector(Part(names.norm, (config.hidden,))),
        head=embed if config.tied_head else loader.matrix((Part(names.head, (config.vocab, config.hidden)),)),
    )


def halves_to_pairs(rows: Tensor, heads: int) -> Tensor:
    """Reorder rows [heads*head_dim, …] so that the partners of a rotation, i and i + head_dim/2, are neighbours."""
    return rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def _check(part: Part, source: TensorSource) -> None:
    found = source.shape(part.name)
    if found is None:
        raise ModelError(f"tensor {part.name} is missing")
    if found != part.shape:
        raise ModelError(f"tensor {part.name} has shape {list(found)}, not {list(part.shape)}")


def _layer(config: ModelConfig, names: TensorNames, shard: Shard, layer: int, loader: _Loader) -> LayerWeights:
    own, parts = shard.config(config), layer_parts(config, names, shard, layer)
    bias = [loader.vector(part) for part in parts.qkv_bias]
    norms = [
        loader.vector(part).expand(heads, -1)
        for part, heads in zip(parts.qk_norm, (own.heads, own.kv_heads), strict=False)
    ]
    return LayerWeights(
        attention_norm=loader.vector(parts.attention_norm),
        qkv=loader.matrix(parts.qkv),
        out=loader.matrix((parts.out,)),
        ffn_norm=loader.vector(parts.ffn_norm),
        gate_up=loader.matrix(parts.gate_up),
        down=loader.matrix((parts.down,)),
        qkv_bias=torch.cat(bias) if bias else None,
        qk_norm=torch.cat(norms) if norms else None,
    )


class _Loader:
    def __init__(self, source: TensorSource, form: WeightForm) -> None:
        self._source = source
        self._form = form

    def vector(self, part: Part) -> Tensor:
        return self._read(part).to(self._form.device, self._form.dtype)

    def matrix(self, parts: Sequence[Part]) -> Matrix:
        """The parts, one below the other."""
        if not self._form.packed:
            return self._dense(parts)
        groups = [self._groups(part) for part in parts]
        same = {(g.bits, g.group, g.minimum is None) if g else None for g in groups}
        if len(same) == 1 and None not in same:
            return PackedMatrix([g for g in groups if g])
        each = [PackedMatrix([g]) if g else self._dense([part]) for g, part in zip(groups, parts, strict=True)]
        return each[0] if len(each) == 1 else StackedMatrix(each)

    def _dense(self, parts: Sequence[Part]) -> Matrix:
        first = self._read(parts[0])
        if len(parts) == 1:
            return DenseMatrix(first.to(self._form.device, self._form.dtype).contiguous())
        rows = sum(_length(part.rows, part.shape[0]) for part in parts)
        whole = torch.empty((rows, *first.shape[1:]), dtype=self._form.dtype, device=self._form.device)
        whole[: len(first)] = first
        done = len(first)
        for part in parts[1:]:
            read = self._read(part)
            whole[done : done + len(read)] = read
            done += len(read)
        return DenseMatrix(whole)

    def _read(self, part: Part) -> Tensor:
        tensor = self._source.read(part)
        return halves_to_pairs(tensor, part.rope_heads) if part.rope_heads else tensor

    def _groups(self, part: Part) -> Groups | None:
        groups = self._source.groups(part)
        if groups is None or not part.rope_heads:
            return groups
        minimum = groups.minimum
        return Groups(
            q=halves_to_pairs(groups.q, part.rope_heads),
            scale=halves_to_pairs(groups.scale, part.rope_heads),
            minimum=None if minimum is None else halves_to_pairs(minimum, part.rope_heads),
            bits=groups.bits,
        )


def _length(run: slice, size: int) -> int:
    return len(range(size)[run])
