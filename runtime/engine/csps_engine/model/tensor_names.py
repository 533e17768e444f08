"""What a file format calls the tensors of a model, and which part of each a tensor rank holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from csps_engine.model.config import ModelConfig, Shard


@dataclass(frozen=True, slots=True)
class TensorNames:
    """`{}` in the layer's names is the layer number."""

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
    q_norm: str
    k_norm: str
    halves_rope: bool
    """q and k rows are in rotate-halves order and must be reordered to interleaved pairs."""

    def bias(self, weight: str) -> str:
        """The bias that belongs to a weight."""
        return weight.removesuffix("weight") + "bias"


@dataclass(frozen=True, slots=True)
class Part:
    """What this rank reads of one tensor."""

    name: str
    shape: tuple[int, ...]
    """Of the whole tensor in the file."""
    rows: slice = field(default_factory=lambda: slice(None))
    columns: slice = field(default_factory=lambda: slice(None))
    """Of a matrix."""
    rope_heads: int = 0
    """Reorder the rows read, of this many heads, from halves to interleaved pairs."""


@dataclass(frozen=True, slots=True)
class LayerParts:
    """One decoder layer; parts in a tuple lie one below the other."""

    attention_norm: Part
    qkv: tuple[Part, ...]
    qkv_bias: tuple[Part, ...]
    qk_norm: tuple[Part, ...]
    out: Part
    ffn_norm: Part
    gate_up: tuple[Part, ...]
    down: Part

    def all(self) -> Iterator[Part]:
        yield from (self.attention_norm, self.ffn_norm, self.out, self.down)
        for parts in (self.qkv, self.qkv_bias, self.qk_norm, self.gate_up):
            yield from parts


def layer_parts(c: ModelConfig, names: TensorNames, shard: Shard, layer: int) -> LayerParts:
    """Parts of layer `layer` of the whole model `c` that `shard` holds."""

    def run(heads: slice) -> slice:
        return slice(heads.start * c.head_dim, heads.stop * c.head_dim)

    heads, kv_heads, ffn = shard.heads(c), shard.kv_heads(c), shard.ffn(c)
    attended, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
    reorder = int(names.halves_rope)
    q_heads, k_heads = reorder * (heads.stop - heads.start), reorder * (kv_heads.stop - kv_heads.start)
    projections = (
        (names.q.format(layer), attended, run(heads), q_heads),
        (names.k.format(layer), kv, run(kv_heads), k_heads),
        (names.v.format(layer), kv, run(kv_heads), 0),
    )
    norms = (names.q_norm.format(layer), names.k_norm.format(layer))
    return LayerParts(
        attention_norm=Part(names.attention_norm.format(layer), (c.hidden,)),
        qkv=tuple(Part(name, (size, c.hidden), rows, rope_heads=n) for name, size, rows, n in projections),
        qkv_bias=tuple(
            Part(names.bias(name), (size,), rows, rope_heads=n) for name, size, rows, n in projections if c.qkv_bias
        ),
        qk_norm=tuple(Part(name, (c.head_dim,), rope_heads=reorder) for name in norms if c.qk_norm),
        out=Part(names.out.format(layer), (c.hidden, attended), columns=run(heads)),
        ffn_norm=Part(names.ffn_norm.format(layer), (c.hidden,)),
        gate_up=tuple(Part(name.format(layer), (c.ffn, c.hidden), rows=ffn) for name in (names.gate, names.up)),
        down=Part(names.down.format(layer), (c.hidden, c.ffn), columns=ffn),
    )


def model_parts(c: ModelConfig, names: TensorNames, shard: Shard) -> Iterator[Part]:
    """Every part that `shard` holds."""
    yield Part(names.embed, (c.vocab, c.hidden))
    yield Part(names.norm, (c.hidden,))
    if not c.tied_head:
        yield Part(names.head, (c.vocab, c.hidden))
    for layer in range(c.layers):
        yield from layer_parts(c, names, shard, layer).all()
