"""A small transformer that learns to recall: two layers of attention, several heads, rotary positions.

Keys are smeared (Olsson et al., "In-context learning and induction heads", 2022): a token's key is a learned mixture
of its own and its predecessor's, by head. A value's token is then found by the key before it, and what otherwise
takes minutes of training, a head that looks one token back, is there from the start.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.recall.sheets import VOCABULARY

WIDTH, LAYERS, HEADS, HEAD = 64, 2, 4, 16
_THETA = 10_000.0

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From q, k, v [B, H, N, D], after rotation, to the output [B, H, N, D]; causal."""


def exact(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Dense attention."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


class RecallNetwork(nn.Module):
    """Logits [B, N, vocabulary] of tokens [B, N]."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList(_Layer() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.unembed = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, tokens: Tensor, attention: Attention = exact) -> Tensor:
        x = self.embed(tokens)
        cos, sin = _turn(tokens.shape[1])
        for layer in self.layers:
            x = layer(x, cos, sin, attention)
        return self.unembed(self.norm(x))


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * HEADS * HEAD, bias=False)
        self.smear = nn.Parameter(torch.zeros(HEADS, 1, 1))
        self.out = nn.Linear(HEADS * HEAD, WIDTH, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attention: Attention) -> Tensor:
        q, k, v = self.qkv(self.before(x)).unflatten(-1, (3, HEADS, HEAD)).permute(2, 0, 3, 1, 4)
        own = self.smear.sigmoid()
        k = own * k + (1 - own) * F.pad(k[:, :, :-1], (0, 0, 1, 0))
        seen = attention(_rotate(q, cos, sin), _rotate(k, cos, sin), v)
        return x + self.out(seen.transpose(1, 2).flatten(2))


def _turn(tokens: int) -> tuple[Tensor, Tensor]:
    frequency = _THETA ** (-torch.arange(0, HEAD, 2) / HEAD)
    angle = torch.arange(tokens).unsqueeze(1) * frequency
    return angle.cos(), angle.sin()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    one, other = x.chunk(2, -1)
    return torch.cat([one * cos - other * sin, one * sin + other * cos], -1)
