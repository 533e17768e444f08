"""Ring attention (Liu et al., 2023) in zig-zag order, as in its best implementations: each rank's K and V go once
around the ring; the next block travels while the present one is computed. Exact."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.baselines.zigzag_keys import attend_block, attend_own
from csps_engine.comm.mesh import Mesh, Pending
from csps_engine.pipeline.partition import owner, zigzag


class RingAttention:
    """Attention of one prompt of `tokens` tokens over two or more ranks."""

    def __init__(self, mesh: Mesh, tokens: int) -> None:
        self._mesh = mesh
        self._spans = zigzag(tokens, mesh.size)
        self.own = self._spans[mesh.rank]
        self.last_owner = owner(self._spans, tokens - 1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Output [n, H, D] of own queries q [n, H, D], given own k, v [K, n, D]."""
        rank, ranks = self._mesh.rank, self._mesh.size
        block, source = torch.stack([k, v]), rank
        arriving, arrival = self._pass_on(block, source)
        held = attend_own(q, k, v, self.own[0].tokens)
        for step in range(1, ranks):
            arrival.wait()
            block, source = arriving, (rank - step) % ranks
            if step < ranks - 1:
                arriving, arrival = self._pass_on(block, source)
            held = attend_block(held, q, block, self.own, self._spans[source])
        return held.out

    def _pass_on(self, block: Tensor, source: int) -> tuple[Tensor, Pending]:
        """Send a block [2, K, n, D] to the next rank and expect the previous rank's."""
        rank, ranks = self._mesh.rank, self._mesh.size
        before = (source - 1) % ranks
        shape = (2, block.shape[1], sum(span.tokens for span in self._spans[before]), block.shape[3])
        arriving = block.new_empty(shape)
        rows, size = arriving.view(-1, shape[3]), block.shape[3]
        outgoing = block.contiguous().view(-1, size)
        sent = [outgoing.shape[0] if peer == (rank + 1) % ranks else 0 for peer in range(ranks)]
        received = [rows.shape[0] if peer == (rank - 1) % ranks else 0 for peer in range(ranks)]
        return arriving, self._mesh.all_to_all_single(rows, outgoing, received, sent)
