"""Exact prefill attention of what follows a prompt's known beginning.

The keys and values of the beginning come from where they are kept, whole, to every rank; the rest of the prompt is cut
in zig-zag between the ranks as if it were a prompt of its own, at positions after the beginning. Each query sees all of
the beginning, which needs no mask:

    out(q) = merge(attention over the beginning, causal attention over the rest)

The part over the beginning is computed while keys and values of the rest travel.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from csps_engine.attention.attend import attend
from csps_engine.attention.partial import Partial, merge
from csps_engine.comm.mesh import Mesh
from csps_engine.pipeline.kv_gather import KvGatherAttention
from csps_engine.pipeline.partition import Span


class Beginning(Protocol):
    """KV of the first tokens of a prompt."""

    @property
    def tokens(self) -> int:
        """Whole pages."""
        ...

    def take(self, layer: int) -> tuple[Tensor, Tensor]:
        """K and V [kv_heads, tokens, head_dim] of a layer; layers are taken in order, once each."""
        ...


class PrefixAttention(KvGatherAttention):
    """See PrefillAttention: of a prompt of `tokens` tokens, those after the beginning are this attention's own."""

    def __init__(self, mesh: Mesh, tokens: int, beginning: Beginning, pieces: int = 1) -> None:
        super().__init__(mesh, tokens - beginning.tokens, pieces)
        self._beginning = beginning
        self._layer = 0
        early, late = (Span(span.start + beginning.tokens, span.stop + beginning.tokens) for span in self.own)
        self.own = (early, late)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See PrefillAttention. Called for one layer after another."""
        if self._mesh.size == 1:
            return self._local(q, k, v).out
        return super().attend(q, k, v)

    def _local(self, q: Tensor, k: Tensor, v: Tensor) -> Partial:
        keys, values = self._beginning.take(self._layer)
        self._layer += 1
        known = attend(q, keys.to(q.device), values.to(q.device), causal=False)
        return merge(super()._local(q, k, v), known)
