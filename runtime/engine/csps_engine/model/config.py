"""Hyper-parameters of a Llama-family model, checked when made."""

from __future__ import annotations

from dataclasses import dataclass

from csps_engine.core.kvshape import DtypeName, KvShape


class ModelError(ValueError):
    """The model's files cannot be served. The message names the file, tensor or field at fault."""


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the trained context."""

    factor: float
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 1.0
    original_context: int = 0
    """0: every frequency is divided by `factor`. Else the Llama 3 rule, by wavelength over this context."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Shapes and constants of a decoder of the Llama architecture (RMS norm, RoPE, GQA, SwiGLU, no biases)."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    context: int
    rope_theta: float
    norm_eps: float
    tied_head: bool
    """The output projection is the embedding table."""
    rope_scaling: RopeScaling | None = None
    architecture: str = "llama"

    def __post_init__(self) -> None:
        for field in ("layers", "hidden", "heads", "kv_heads", "head_dim", "ffn", "vocab", "context"):
            if getattr(self, field) < 1:
                raise ModelError(f"{field} must be positive, not {getattr(self, field)}")
        if self.heads % self.kv_heads != 0:
            raise ModelError(f"{self.heads} query heads cannot share {self.kv_heads} KV heads evenly")
        if self.head_dim % 2 != 0:
            raise ModelError(f"the head size must be even for RoPE, not {self.head_dim}")

    @property
    def group(self) -> int:
        """Query heads that share one KV head."""
        return self.heads // self.kv_heads

    def kv_shape(self, dtype: DtypeName) -> KvShape:
        """Shape of this model's KV when computed in `dtype`."""
        return KvShape(layers=self.layers, kv_heads=self.kv_heads, head_dim=self.head_dim, dtype=dtype)

    def weight_bytes(self, bytes_per_element: int) -> int:
        """Bytes of all weights in memory."""
        attention = self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads)
        layer = attention + 3 * self.hidden * self.ffn + 2 * self.hidden
        tables = self.vocab * self.hidden * (1 if self.tied_head else 2)
        return (self.layers * layer + tables + self.hidden) * bytes_per_element
