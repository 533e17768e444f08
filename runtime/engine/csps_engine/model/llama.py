"""The dense pieces of a Llama forward pass; attention happens between `qkv` and `finish`.

Callers hold the residual stream x [T, hidden] of any set of tokens and run, per layer,
    q, k, v = model.qkv(layer, x, turn);  o = attention(q, …);  model.finish(layer, x, o)
Pieces that would need large scratch space work through the tokens in chunks.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from csps_engine.model.config import ModelConfig
from csps_engine.model.rope import frequencies, rotate, rotation
from csps_engine.model.weights import Weights

CHUNK_TOKENS = 1024
"""Tokens whose MLP activations exist at once."""


class Qkv(NamedTuple):
    """Projections of T tokens after RoPE."""

    q: Tensor  # [T, heads, head_dim]
    k: Tensor  # [T, kv_heads, head_dim]
    v: Tensor  # [T, kv_heads, head_dim]


class Llama:
    """A model's weights and the computations that need no other token."""

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        self.config = config
        self.weights = weights
        self._frequency = frequencies(config).to(weights.embed.device)

    @property
    def device(self) -> torch.device:
        return self.weights.embed.device

    @property
    def dtype(self) -> torch.dtype:
        return self.weights.embed.dtype

    def embed(self, token_ids: Tensor) -> Tensor:
        """Residual stream [T, hidden] of token ids [T]."""
        return F.embedding(token_ids, self.weights.embed)

    def turn(self, positions: Tensor) -> Tensor:
        """Rotation for tokens at absolute `positions` [T], the same in every layer."""
        return rotation(positions, self._frequency)

    def qkv(self, layer: int, x: Tensor, turn: Tensor) -> Qkv:
        """Norm, projection and RoPE of x [T, hidden]."""
        c, w = self.config, self.weights.layers[layer]
        # One buffer a projection keeps K and V contiguous for attention and for whoever stores them.
        parts = [self._project(w.attention_norm, w.qkv, c, x[a:b], turn[a:b]) for a, b in _chunks(x.shape[0])]
        if len(parts) == 1:
            return parts[0]
        return Qkv(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def finish(self, layer: int, x: Tensor, attended: Tensor) -> None:
        """Add to x [T, hidden], in place, the attention output [T, heads, head_dim] projected, then the MLP."""
        c, w = self.config, self.weights.layers[layer]
        for a, b in _chunks(x.shape[0]):
            part = x[a:b]
            part.addmm_(attended[a:b].flatten(1), w.out.t())
            hidden = F.rms_norm(part, (c.hidden,), w.ffn_norm, c.norm_eps)
            gate, up = F.linear(hidden, w.gate_up).chunk(2, -1)
            part.addmm_(F.silu(gate).mul_(up), w.down.t())

    def logits(self, x: Tensor) -> Tensor:
        """Next-token logits [T, vocab] in fp32 of the last layer's x [T, hidden]."""
        c, w = self.config, self.weights
        return F.linear(F.rms_norm(x, (c.hidden,), w.norm, c.norm_eps), w.head).float()

    def _project(self, norm: Tensor, qkv: Tensor, c: ModelConfig, x: Tensor, turn: Tensor) -> Qkv:
        heads = F.linear(F.rms_norm(x, (c.hidden,), norm, c.norm_eps), qkv).unflatten(-1, (-1, c.head_dim))
        turned = rotate(heads[:, : c.heads + c.kv_heads], turn)
        return Qkv(turned[:, : c.heads], turned[:, c.heads :], heads[:, c.heads + c.kv_heads :])


def _chunks(tokens: int) -> list[tuple[int, int]]:
    return [(a, min(a + CHUNK_TOKENS, tokens)) for a in range(0, tokens, CHUNK_TOKENS)] or [(0, 0)]
