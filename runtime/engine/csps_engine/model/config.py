"""Hyper-parameters of a decoder of the Llama family, checked when made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from csps_engine.core.kvshape import DtypeName, KvShape

LARGEST = 2**31
"""No dimension of a real model comes near; a larger one is a broken file."""


class ModelError(ValueError):
    """The model's files cannot be served. The message names the file, tensor or field at fault."""


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the trained context; `rope.py` has the formulas."""

    kind: Literal["linear", "llama3", "yarn", "dynamic", "divisors"]
    factor: float = 1.0
    original_context: int = 0
    """Tokens that the model was trained on; not used by linear and divisors."""
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 1.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    """YaRN: the range of blended pairs is rounded outward to whole pairs."""
    magnitude: float = 1.0
    """Rotated queries and keys are this much longer (YaRN's attention factor)."""
    divisors: tuple[float, ...] = ()
    """By pair; the form in which GGUF files carry Llama 3's scaling."""

    def __post_init__(self) -> None:
        if not self.factor >= 1:
            raise ModelError(f"the RoPE scaling factor is {self.factor}: it must be 1 or more")
        if self.kind in ("llama3", "yarn", "dynamic") and self.original_context < 1:
            raise ModelError(f"RoPE scaling {self.kind} needs the context that the model was trained on")
        if self.kind == "llama3" and not self.high_frequency_factor > self.low_frequency_factor:
            raise ModelError("RoPE scaling llama3: high_freq_factor must be above low_freq_factor")
        if any(not divisor > 0 for divisor in self.divisors):
            raise ModelError("the RoPE divisors must be positive")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Shapes and constants of a decoder with RMS norm, RoPE, grouped query heads and SwiGLU.

    A tensor-parallel rank has its own: `shard` gives the heads and the FFN width of one.
    """

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
    qkv_bias: bool = False
    """Queries, keys and values have a bias (Qwen2)."""
    qk_norm: bool = False
    """Each query and key head is normed before RoPE (Qwen3)."""

    def __post_init__(self) -> None:
        for field in ("layers", "hidden", "heads", "kv_heads", "head_dim", "ffn", "vocab", "context"):
            if not 1 <= getattr(self, field) <= LARGEST:
                raise ModelError(f"{field} is {getattr(self, field)}: it must be from 1 to {LARGEST}")
        if self.heads % self.kv_heads != 0:
            raise ModelError(f"{self.heads} query heads cannot share {self.kv_heads} KV heads evenly")
        if self.head_dim % 2 != 0:
            raise ModelError(f"the head size must be even for RoPE, not {self.head_dim}")
        if not self.rope_theta > 1:
            raise ModelError(f"the RoPE base is {self.rope_theta}: it must be above 1")
        if not self.norm_eps >= 0:
            raise ModelError(f"the norm's epsilon is {self.norm_eps}: it must be 0 or more")
        scaling = self.rope_scaling
        if scaling is not None and scaling.kind == "divisors" and len(scaling.divisors) != self.head_dim // 2:
            raise ModelError(f"{len(scaling.divisors)} RoPE divisors do not fit heads of {self.head_dim}")

    @property
    def group(self) -> int:
        """Query heads that share one KV head."""
        return self.heads // self.kv_heads

    def kv_shape(self, dtype: DtypeName) -> KvShape:
        """Shape of this model's KV when computed in `dtype`."""
        return KvShape(layers=self.layers, kv_heads=self.kv_heads, head_dim=self.head_dim, dtype=dtype)

    def weight_bytes(self, bytes_per_element: int) -> int:
        """Bytes of all weights in memory, unpacked."""
        attention = self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads)
        layer = attention + 3 * self.hidden * self.ffn + 2 * self.hidden
        tables = self.vocab * self.hidden * (1 if self.tied_head else 2)
        return (self.layers * layer + tables + self.hidden) * bytes_per_element


@dataclass(frozen=True, slots=True)
class Shard:
    """One tensor rank's part of a model: equal runs of query heads and of FFN columns.

    KV heads are cut alike; with more ranks than KV heads, each is held by several ranks.
    """

    rank: int = 0
    size: int = 1

    def check(self, model: ModelConfig) -> None:
        """Raises ModelError when the model cannot be cut into `size` equal parts."""
        size = self.size
        if model.heads % size != 0:
            raise ModelError(f"tensor parallelism {size}: it must divide the {model.heads} query heads")
        if model.kv_heads % size != 0 and size % model.kv_heads != 0:
            raise ModelError(
                f"tensor parallelism {size}: it must divide the {model.kv_heads} KV heads or be a multiple"
            )
        if model.ffn % size != 0:
            raise ModelError(f"tensor parallelism {size}: it must divide the FFN width {model.ffn}")

    def heads(self, model: ModelConfig) -> slice:
        """Query heads of this rank."""
        return self._run(model.heads)

    def kv_heads(self, model: ModelConfig) -> slice:
        """KV heads that its query heads read."""
        heads = self.heads(model)
        return slice(heads.start // model.group, (heads.stop - 1) // model.group + 1)

    def ffn(self, model: ModelConfig) -> slice:
        """FFN columns of this rank."""
        return self._run(model.ffn)

    def config(self, model: ModelConfig) -> ModelConfig:
        """The model as this rank computes it. Raises ModelError."""
        self.check(model)
        kv = self.kv_heads(model)
        return replace(model, heads=model.heads // self.size, kv_heads=kv.stop - kv.start, ffn=model.ffn // self.size)

    def _run(self, count: int) -> slice:
        share = count // self.size
        return slice(self.rank * share, (self.rank + 1) * share)


WHOLE = Shard()
"""No tensor parallelism."""
