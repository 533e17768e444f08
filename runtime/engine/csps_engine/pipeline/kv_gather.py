"""Sequence-parallel prefill attention in which queries stay and keys and values travel.

Rank r of P owns chunks r and 2P-1-r of 2P (zig-zag: early chunks see few keys, late ones many). Per layer K and V
go to the ranks whose queries may see them:
    an early chunk r       to every other rank
    a late chunk 2P-1-r    to ranks below r alone
in pieces by KV head, all under way at once and arriving in order. Meanwhile
    own queries  x own keys
    then for each piece that has come:  all own queries x chunks 0 … r-1          (before both own chunks)
                                        late queries    x chunks r+1 … 2P-2-r     (between them)
and partial results merge by log-sum-exp. Chunks are ordered by position, so causality needs no mask except within
a chunk. Chunks may be unequal or empty.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from csps_engine.attention.attend import attend
from csps_engine.attention.partial import Partial, merge
from csps_engine.comm.mesh import Mesh, Pending
from csps_engine.pipeline.partition import owner, zigzag
from csps_engine.pipeline.pieces import KvPiece, kv_pieces

EARLY, LATE = 0, 1


class _Arriving(NamedTuple):
    piece: KvPiece
    rows: Tensor  # [rows of all sources, D]
    counts: list[int]
    arrival: Pending


class KvGatherAttention:
    """Attention of one prompt of `tokens` tokens in `pieces` pieces a layer; with one rank, plain causal attention."""

    def __init__(self, mesh: Mesh, tokens: int, pieces: int = 1) -> None:
        self._mesh = mesh
        self._pieces = pieces
        self._spans = zigzag(tokens, mesh.size)
        self.own = self._spans[mesh.rank]
        self.last_owner = owner(self._spans, tokens - 1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Output [n, H, D] of own queries q [n, H, D], given own k, v [K, n, D]."""
        if self._mesh.size == 1:
            return attend(q, k, v, causal=True).out
        under_way = [self._send(piece, k, v) for piece in kv_pieces(k.shape[0], self._pieces)]
        held = self._local(q, k, v)
        for arriving in under_way:
            arriving.arrival.wait()
            self._remote(held, q, arriving, k.shape[0])
        return held.out

    def _send(self, piece: KvPiece, k: Tensor, v: Tensor) -> _Arriving:
        heads, cut = slice(piece.kv_heads.start, piece.kv_heads.stop), self.own[EARLY].tokens
        parts: list[Tensor] = []
        for rank in range(self._mesh.size):
            for chunk in self._travelling(piece, self._mesh.rank, rank):
                rows = slice(cut) if chunk == EARLY else slice(cut, None)
                parts += [k[heads, rows].flatten(0, 1), v[heads, rows].flatten(0, 1)]
        sent = [self._rows(piece, self._mesh.rank, rank) for rank in range(self._mesh.size)]
        counts = [self._rows(piece, rank, self._mesh.rank) for rank in range(self._mesh.size)]
        rows_in = k.new_empty(sum(counts), k.shape[2])
        outgoing = torch.cat(parts) if parts else k.new_empty(0, k.shape[2])
        return _Arriving(piece, rows_in, counts, self._mesh.all_to_all_single(rows_in, outgoing, counts, sent))

    def _local(self, q: Tensor, k: Tensor, v: Tensor) -> Partial:
        cut = self.own[EARLY].tokens
        early = attend(q[:cut], k[:, :cut], v[:, :cut], causal=True)
        late = attend(q[cut:], k[:, cut:], v[:, cut:], causal=True)
        late = merge(late, attend(q[cut:], k[:, :cut], v[:, :cut], causal=False))
        return Partial(*(torch.cat(column) for column in zip(early, late, strict=True)))

    def _remote(self, held: Partial, q: Tensor, arriving: _Arriving, kv_heads: int) -> None:
        """Fold the piece's keys into what is held of the queries that read them."""
        before: list[tuple[Tensor, Tensor]] = []
        between: list[tuple[Tensor, Tensor]] = []
        piece = arriving.piece
        for rank, rows in enumerate(arriving.rows.split(arriving.counts)):
            done = 0
            for chunk in self._travelling(piece, rank, self._mesh.rank):
                count = len(piece.kv_heads) * self._spans[rank][chunk].tokens
                k, v = (part.unflatten(0, (len(piece.kv_heads), -1)) for part in rows[done:].split(count)[:2])
                done += 2 * count
                (before if rank < self._mesh.rank else between).append((k, v))
        group = q.shape[1] // kv_heads
        heads = slice(piece.kv_heads.start * group, piece.kv_heads.stop * group)
        _fold(held, q, (slice(None), heads), before)
        _fold(held, q, (slice(self.own[EARLY].tokens, None), heads), between)

    def _travelling(self, piece: KvPiece, source: int, target: int) -> list[int]:
        """Which of the source's chunks the target's queries may see and the piece carries."""
        if source == target:
            return []
        chunks = {"both": (EARLY, LATE), "early": (EARLY,), "late": (LATE,)}[piece.chunks]
        return [c for c in chunks if (c == EARLY or target < source) and self._spans[source][c].tokens > 0]

    def _rows(self, piece: KvPiece, source: int, target: int) -> int:
        tokens = sum(self._spans[source][chunk].tokens for chunk in self._travelling(piece, source, target))
        return 2 * len(piece.kv_heads) * tokens


def _fold(held: Partial, q: Tensor, where: tuple[slice, slice], keys: list[tuple[Tensor, Tensor]]) -> None:
    if not keys:
        return
    k, v = (torch.cat(column, 1) for column in zip(*keys, strict=True))
    more = attend(q[where], k, v, causal=False)
    both = merge(Partial(held.out[where], held.lse[where]), more)
    held.out[where], held.lse[where] = both
