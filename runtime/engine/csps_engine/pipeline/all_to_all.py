"""Sequence-parallel prefill attention in which heads are exchanged for tokens.

Rank r owns one run of tokens. Per layer, in pieces by head (and by query token where heads are too few):
    1  an all-to-all brings rank r the queries of all tokens for its share of the heads, with their keys and values
    2  plain causal attention
    3  a second all-to-all returns the output to the tokens' owners
All of phase 1 is under way at once and arrives in order: piece i+1 travels while i computes, and i's output returns
while i+1 computes. KV heads that serve the query heads of several ranks travel to each of them. Every rank has the
same causal work.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from csps_engine.attention.attend import attend
from csps_engine.attention.partial import merge
from csps_engine.comm.mesh import Mesh, Pending
from csps_engine.model.config import ModelConfig
from csps_engine.pipeline.mode import ModeError, split_heads
from csps_engine.pipeline.partition import contiguous, owner
from csps_engine.pipeline.pieces import QueryPiece, even, query_pieces

Keys = tuple[Tensor, Tensor]  # K and V [1, N, D] of one KV head over all tokens


class _Inward(NamedTuple):
    piece: QueryPiece
    rows: Tensor
    arrival: Pending


class _Return(NamedTuple):
    piece: QueryPiece
    rows: Tensor
    arrival: Pending


class AllToAllAttention:
    """Attention of one prompt over a mesh whose size divides the query heads, in about `pieces` pieces a layer."""

    def __init__(self, config: ModelConfig, mesh: Mesh, tokens: int, pieces: int = 1) -> None:
        splits = split_heads(config, mesh.size)
        if splits is None:
            raise ModeError(f"{config.heads} heads do not split evenly over {mesh.size} ranks")
        self._splits = splits
        self._mesh = mesh
        self._spans = contiguous(tokens, mesh.size)
        self._cut = query_pieces(splits[0], pieces)
        self._parts = [even(span.tokens, self._cut.token_parts) for span in self._spans]
        self.own = (self._spans[mesh.rank],)
        self.last_owner = owner([(span,) for span in self._spans], tokens - 1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Output [n, H, D] of own queries q [n, H, D], given own k, v [K, n, D]."""
        inward = [self._send(piece, q, k, v) for piece in self._cut.pieces]
        keys: dict[int, Keys] = {}
        returns = []
        for sent in inward:
            sent.arrival.wait()
            queries = self._unpack(sent, keys)
            returns.append(self._give_back(sent.piece, self._causal(sent.piece, queries, keys)))
        out = torch.empty_like(q)
        for back in returns:
            back.arrival.wait()
            self._place(back, out)
        return out

    def _send(self, piece: QueryPiece, q: Tensor, k: Tensor, v: Tensor) -> _Inward:
        mine = _rows(self._parts[self._mesh.rank][piece.part])
        outgoing: list[Tensor] = []
        for split in self._splits:
            outgoing.append(q[mine, _heads(split.heads, piece.heads)].flatten(0, 1))
            if piece.brings_keys:
                heads = _heads(split.kv_heads, piece.kv_heads)
                outgoing += [k[heads].flatten(0, 1), v[heads].flatten(0, 1)]
        counts = [sum(self._counts(piece, rank)) for rank in range(self._mesh.size)]
        sent = [counts[self._mesh.rank]] * self._mesh.size
        arriving = q.new_empty(sum(counts), q.shape[2])
        arrival = self._mesh.all_to_all_single(arriving, torch.cat(outgoing), counts, sent)
        return _Inward(piece, arriving, arrival)

    def _counts(self, piece: QueryPiece, source: int) -> list[int]:
        """Rows of queries, keys and values that a piece brings from `source`."""
        queries = len(self._parts[source][piece.part]) * len(piece.heads)
        keys = self._spans[source].tokens * len(piece.kv_heads) if piece.brings_keys else 0
        return [queries, keys, keys]

    def _unpack(self, sent: _Inward, keys: dict[int, Keys]) -> list[Tensor]:
        """Queries [n, heads, D] by source; keys that came along are put into `keys` by KV head."""
        piece = sent.piece
        ranks = range(self._mesh.size)
        parts = iter(sent.rows.split([rows for rank in ranks for rows in self._counts(piece, rank)]))
        queries, ks, vs = zip(*((next(parts), next(parts), next(parts)) for _ in ranks), strict=True)
        if piece.brings_keys:
            every = [torch.cat([p.unflatten(0, (len(piece.kv_heads), -1)) for p in part], 1) for part in (ks, vs)]
            for number, head in enumerate(piece.kv_heads):
                keys[head] = (every[0][number : number + 1], every[1][number : number + 1])
        return [rows.unflatten(0, (-1, len(piece.heads))) for rows in queries]

    def _causal(self, piece: QueryPiece, queries: list[Tensor], keys: dict[int, Keys]) -> Tensor:
        """Output [n, heads, D] of the piece's queries of all ranks."""
        columns = zip(*(keys[head] for head in piece.kv_heads), strict=True)
        k, v = (column[0] if len(column) == 1 else torch.cat(column) for column in columns)
        if self._cut.token_parts == 1:
            return attend(torch.cat(queries), k, v, causal=True).out
        outs = []
        for rank, q in enumerate(queries):
            start = self._spans[rank].start + self._parts[rank][piece.part].start
            stop = start + q.shape[0]
            before = attend(q, k[:, :start], v[:, :start], causal=False)
            outs.append(merge(before, attend(q, k[:, start:stop], v[:, start:stop], causal=True)).out)
        return torch.cat(outs)

    def _give_back(self, piece: QueryPiece, out: Tensor) -> _Return:
        sent = [len(parts[piece.part]) * len(piece.heads) for parts in self._parts]
        received = [sent[self._mesh.rank]] * self._mesh.size
        rows = out.new_empty(sum(received), out.shape[2])
        return _Return(piece, rows, self._mesh.all_to_all_single(rows, out.flatten(0, 1), received, sent))

    def _place(self, back: _Return, out: Tensor) -> None:
        piece = back.piece
        mine = _rows(self._parts[self._mesh.rank][piece.part])
        for rows, split in zip(back.rows.chunk(self._mesh.size), self._splits, strict=True):
            if rows.shape[0] > 0:
                out[mine, _heads(split.heads, piece.heads)] = rows.unflatten(0, (-1, len(piece.heads)))


def _rows(run: range) -> slice:
    return slice(run.start, run.stop)


def _heads(share: range, run: range) -> slice:
    """A rank's numbers of heads as the model's."""
    return slice(share.start + run.start, share.start + run.stop)
