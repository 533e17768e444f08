"""All K and V of a layer gathered first, then attention: no overlap. The partition is zig-zag. Exact."""

from __future__ import annotations

from torch import Tensor

from bench.baselines.zigzag_keys import attend_block, attend_own
from csps_engine.comm.mesh import Mesh
from csps_engine.pipeline.partition import owner, zigzag


class AllGatherAttention:
    """Attention of one prompt of `tokens` tokens over two or more ranks."""

    def __init__(self, mesh: Mesh, tokens: int) -> None:
        self._mesh = mesh
        self._spans = zigzag(tokens, mesh.size)
        self.own = self._spans[mesh.rank]
        self.last_owner = owner(self._spans, tokens - 1)
        self._longest = max(early.tokens + late.tokens for early, late in self._spans)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Output [n, H, D] of own queries q [n, H, D], given own k, v [K, n, D]."""
        padded = k.new_zeros(2, k.shape[0], self._longest, k.shape[2])
        padded[0, :, : k.shape[1]] = k
        padded[1, :, : v.shape[1]] = v
        gathered = padded.new_empty(self._mesh.size, *padded.shape)
        self._mesh.all_gather_into(gathered, padded).wait()
        held = attend_own(q, k, v, self.own[0].tokens)
        for source, spans in enumerate(self._spans):
            if source != self._mesh.rank:
                block = gathered[source, :, :, : sum(span.tokens for span in spans)]
                held = attend_block(held, q, block, self.own, spans)
        return held.out
