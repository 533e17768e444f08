"""The dense pieces of a forward pass of the Llama family; attention happens between `qkv` and `finish`.

Callers hold the residual stream x [T, hidden] of any set of tokens and run, per layer,
    q, k, v = model.qkv(layer, x, turn);  o = attention(q, …);  model.finish(layer, x, o)
Pieces that would need large scratch space work through the tokens in chunks.

With tensor parallelism each rank holds a run of heads and of FFN columns (`config` counts those alone) and the
whole residual stream; `finish` adds up the ranks' partial outputs of attention and of the MLP.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from csps_engine.model.config import ModelConfig
from csps_engine.model.matrix import Matrix
from csps_engine.model.norm import rms_norm
from csps_engine.model.rope import Rope, rotate
from csps_engine.model.tensor_group import TensorGroup
from csps_engine.model.weights import LayerWeights, Weights

CHUNK_TOKENS = 1024
"""Tokens whose MLP activations exist at once."""


class Qkv(NamedTuple):
    """Projections of T tokens after RoPE."""

    q: Tensor  # [T, heads, head_dim]
    k: Tensor  # [T, kv_heads, head_dim]
    v: Tensor  # [T, kv_heads, head_dim]


class Llama:
    """A model's weights and the computations that need no other token."""

    def __init__(self, config: ModelConfig, weights: Weights, tensor_group: TensorGroup | None = None) -> None:
        self.config = config
        self.weights = weights
        self._tensor_group = tensor_group
        self._rope = Rope(config, weights.norm.device)

    @property
    def device(self) -> torch.device:
        return self.weights.norm.device

    @property
    def dtype(self) -> torch.dtype:
        return self.weights.norm.dtype

    def embed(self, token_ids: Tensor) -> Tensor:
        """Residual stream [T, hidden] of token ids [T]."""
        return self.weights.embed.lookup(token_ids)

    def turn(self, positions: Tensor) -> Tensor:
        """Rotation for tokens at absolute `positions` [T], the same in every layer."""
        return self._rope.turn(positions)

    def qkv(self, layer: int, x: Tensor, turn: Tensor) -> Qkv:
        """Norm, projection and RoPE of x [T, hidden]."""
        weights = self.weights.layers[layer]
        chunks = _chunks(x.shape[0])
        if len(chunks) == 1:
            return self._project(weights, x, turn)
        c, tokens = self.config, x.shape[0]
        q = x.new_empty(tokens, c.heads, c.head_dim)
        # Head by head in memory, as attention and whoever stores them want K and V.
        k, v = (x.new_empty(c.kv_heads, tokens, c.head_dim).transpose(0, 1) for _ in range(2))
        for a, b in chunks:
            q[a:b], k[a:b], v[a:b] = self._project(weights, x[a:b], turn[a:b])
        return Qkv(q, k, v)

    def finish(self, layer: int, x: Tensor, attended: Tensor) -> None:
        """Add to x [T, hidden], in place, the attention output [T, heads, head_dim] projected, then the MLP.

        Collective in the tensor group.
        """
        c, w = self.config, self.weights.layers[layer]
        for a, b in _chunks(x.shape[0]):
            part = x[a:b]
            self._add(part, w.out, attended[a:b].flatten(1))
            hidden = rms_norm(part, w.ffn_norm, c.norm_eps)
            gate, up = w.gate_up.times(hidden).chunk(2, -1)
            self._add(part, w.down, F.silu(gate).mul_(up))

    def logits(self, x: Tensor) -> Tensor:
        """Next-token logits [T, vocab] in fp32 of the last layer's x [T, hidden]."""
        c, w = self.config, self.weights
        return w.head.times(rms_norm(x, w.norm, c.norm_eps)).float()

    def _add(self, target: Tensor, matrix: Matrix, x: Tensor) -> None:
        if self._tensor_group is None:
            matrix.add_times(target, x)
        else:
            target.add_(self._tensor_group.sum(matrix.times(x)))

    def _project(self, w: LayerWeights, x: Tensor, turn: Tensor) -> Qkv:
        c = self.config
        projected = w.qkv.times(rms_norm(x, w.attention_norm, c.norm_eps))
        if w.qkv_bias is not None:
            projected += w.qkv_bias
        heads = projected.unflatten(-1, (-1, c.head_dim))
        q_and_k, v = heads.split([c.heads + c.kv_heads, c.kv_heads], 1)
        if w.qk_norm is not None:
            q_and_k = F.rms_norm(q_and_k, (c.head_dim,), None, c.norm_eps) * w.qk_norm
        turned = rotate(q_and_k, turn)
        return Qkv(turned[:, : c.heads], turned[:, c.heads :], v)


def _chunks(tokens: int) -> list[tuple[int, int]]:
    return [(a, min(a + CHUNK_TOKENS, tokens)) for a in range(0, tokens, CHUNK_TOKENS)] or [(0, 0)]
