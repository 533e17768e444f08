"""Sequence-parallel prefill attention in which queries stay and keys and values travel.

Rank r of P owns chunks r and 2P-1-r of 2P (zig-zag: early chunks see few keys, late ones many). Per layer all K
and V are gathered; while they travel, own queries attend to own keys. Then
    all own queries  x chunks 0 … r-1          (before both own chunks)
    late queries     x chunks r+1 … 2P-2-r     (between them)
and the partial results merge by log-sum-exp. Chunks are ordered by position, so causality needs no mask except
within a chunk. Chunks may be unequal or empty: what is gathered is padded to the longest rank.
"""

from __future__ import annotations

import torch
from torch import Tensor

from csps_engine.attention.attend import attend
from csps_engine.attention.partial import Partial, merge
from csps_engine.comm.mesh import Mesh
from csps_engine.pipeline.partition import owner, zigzag


class KvGatherAttention:
    """Attention of one prompt of `tokens` tokens; with one rank, plain causal attention."""

    def __init__(self, mesh: Mesh, tokens: int) -> None:
        self._mesh = mesh
        self._spans = zigzag(tokens, mesh.size)
        self.own = self._spans[mesh.rank]
        self.last_owner = owner(self._spans, tokens - 1)
        self._longest = max(early.tokens + late.tokens for early, late in self._spans)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Output [n, H, D] of own queries q [n, H, D], given own k, v [K, n, D]."""
        if self._mesh.size == 1:
            return attend(q, k, v, causal=True).out
        gathered = k.new_empty(self._mesh.size, 2, k.shape[0], self._longest, k.shape[2])
        padded = k.new_zeros(gathered.shape[1:])
        padded[0, :, : k.shape[1]] = k
        padded[1, :, : v.shape[1]] = v
        arrival = self._mesh.all_gather_into(gathered, padded)
        local = self._local(q, k, v)
        arrival.wait()
        return self._remote(local, q, gathered)

    def _local(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Partial, Partial]:
        cut = self.own[0].tokens
        early = attend(q[:cut], k[:, :cut], v[:, :cut], causal=True)
        late = attend(q[cut:], k[:, cut:], v[:, cut:], causal=True)
        return early, merge(late, attend(q[cut:], k[:, :cut], v[:, :cut], causal=False))

    def _remote(self, local: tuple[Partial, Partial], q: Tensor, gathered: Tensor) -> Tensor:
        rank, ranks, cut = self._mesh.rank, self._mesh.size, self.own[0].tokens
        both = Partial(*(torch.cat(column) for column in zip(*local, strict=True)))
        if rank > 0:
            k, v = self._chunks(gathered, range(rank))
            both = merge(both, attend(q, k, v, causal=False))
        between = range(rank + 1, 2 * ranks - 1 - rank)
        if len(between) == 0:
            return both.out
        k, v = self._chunks(gathered, between)
        late = merge(Partial(both.out[cut:], both.lse[cut:]), attend(q[cut:], k, v, causal=False))
        return torch.cat([both.out[:cut], late.out])

    def _chunks(self, gathered: Tensor, chunks: range) -> tuple[Tensor, Tensor]:
        """K and V [K, n, D] of the given chunks, in order."""
        parts = []
        for chunk in chunks:
            rank = min(chunk, 2 * self._mesh.size - 1 - chunk)
            early, late = self._spans[rank]
            begin, span = (0, early) if chunk == rank else (early.tokens, late)
            parts.append(gathered[rank, :, :, begin : begin + span.tokens])
        k, v = torch.cat(parts, 2)
        return k, v
