"""Sequence-parallel prefill attention in which heads are exchanged for tokens.

Rank r owns one run of tokens. Per layer, in pieces by head (and by query token where heads are too few):
    1  an all-to-all brings rank r the queries of all tokens for its share of the heads, with their keys and values
    2  plain causal attention
    3  a second all-to-all returns the output to the tokens' owners
All of phase 1 is under way at once and arrives in order: piece i+1 travels while i computes, and i's output returns
while i+1 computes. KV heads that serve the query heads of several ranks travel to each of them. Where the ranks divide
the heads, every rank has the same causal work.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from csps_engine.attention.attend import attend
from csps_engine.attention.partial import merge
from csps_engine.comm.mesh import Mesh, Pending
from csps_engine.model.config import ModelConfig
from csps_engine.pipeline.mode import even, split_heads
from csps_engine.pipeline.partition import contiguous, owner
from csps_engine.pipeline.query_cut import QueryPiece, cut_queries

Keys = tuple[Tensor, Tensor]  # K and V [1, N, D] of one KV head over all tokens


class _Inward(NamedTuple):
    rows: Tensor
    arrival: Pending


class _Return(NamedTuple):
    round: int
    rows: Tensor
    counts: list[int]
    arrival: Pending


class AllToAllAttention:
    """Attention of one prompt, in about `pieces` pieces a layer. Shares of heads may be uneven, or empty."""

    def __init__(self, config: ModelConfig, mesh: Mesh, tokens: int, pieces: int = 1) -> None:
        self._splits = split_heads(config, mesh.size)
        self._mesh = mesh
        self._spans = contiguous(tokens, mesh.size)
        self._cut = cut_queries(self._splits, pieces)
        self._pieces = self._cut.by_rank[mesh.rank]
        self._readers = self._splits[mesh.rank].readers()
        self._parts = [even(span.tokens, self._cut.token_parts) for span in self._spans]
        self.own = (self._spans[mesh.rank],)
        self.last_owner = owner([(span,) for span in self._spans], tokens - 1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Output [n, H, D] of own queries q [n, H, D], given own k, v [K, n, D]."""
        inward = [self._send(turn, q, k, v) for turn in range(self._cut.rounds)]
        keys: dict[int, Keys] = {}
        returns = []
        for turn, (piece, sent) in enumerate(zip(self._pieces, inward, strict=True)):
            sent.arrival.wait()
            queries = self._unpack(piece, sent.rows, keys)
            returns.append(self._give_back(turn, self._causal(piece, queries, keys)))
        out = torch.empty_like(q)
        for back in returns:
            back.arrival.wait()
            self._place(back, out)
        return out

    def _send(self, turn: int, q: Tensor, k: Tensor, v: Tensor) -> _Inward:
        me = self._mesh.rank
        outgoing: list[Tensor] = []
        sent = []
        for split, pieces in zip(self._splits, self._cut.by_rank, strict=True):
            piece = pieces[turn]
            outgoing.append(q[_rows(self._parts[me][piece.part]), _heads(split.heads, piece.heads)].flatten(0, 1))
            if piece.brings_keys:
                heads = _heads(split.kv_heads, piece.kv_heads)
                outgoing += [k[heads].flatten(0, 1), v[heads].flatten(0, 1)]
            sent.append(sum(self._counts(piece, me)))
        counts = [sum(self._counts(self._pieces[turn], rank)) for rank in range(self._mesh.size)]
        arriving = q.new_empty(sum(counts), q.shape[2])
        return _Inward(arriving, self._mesh.all_to_all_single(arriving, torch.cat(outgoing), counts, sent))

    def _counts(self, piece: QueryPiece, source: int) -> list[int]:
        """Rows of queries, keys and values that a piece brings from `source`."""
        queries = len(self._parts[source][piece.part]) * len(piece.heads)
        keys = self._spans[source].tokens * len(piece.kv_heads) if piece.brings_keys else 0
        return [queries, keys, keys]

    def _unpack(self, piece: QueryPiece, rows: Tensor, keys: dict[int, Keys]) -> list[Tensor]:
        """Queries [n, heads, D] by source; keys that came along are put into `keys` by KV head."""
        ranks = range(self._mesh.size)
        parts = iter(rows.split([count for rank in ranks for count in self._counts(piece, rank)]))
        queries, ks, vs = zip(*((next(parts), next(parts), next(parts)) for _ in ranks), strict=True)
        if piece.brings_keys:
            shape = (len(piece.kv_heads), -1, rows.shape[1])
            every = [torch.cat([part.view(shape) for part in column], 1) for column in (ks, vs)]
            for number, head in enumerate(piece.kv_heads):
                keys[head] = (every[0][number : number + 1], every[1][number : number + 1])
        return [
            part.view(len(self._parts[rank][piece.part]), len(piece.heads), rows.shape[1])
            for rank, part in enumerate(queries)
        ]

    def _causal(self, piece: QueryPiece, queries: list[Tensor], keys: dict[int, Keys]) -> Tensor:
        """Output [n, heads, D] of the piece's queries of all ranks."""
        if not piece.heads:
            return torch.cat(queries)
        if self._cut.token_parts == 1:
            return self._whole(piece, torch.cat(queries), keys)
        [head] = piece.kv_heads
        k, v = keys[head]
        outs = []
        for rank, q in enumerate(queries):
            start = self._spans[rank].start + self._parts[rank][piece.part].start
            stop = start + q.shape[0]
            before = attend(q, k[:, :start], v[:, :start], causal=False)
            outs.append(merge(before, attend(q, k[:, start:stop], v[:, start:stop], causal=True)).out)
        return torch.cat(outs)

    def _whole(self, piece: QueryPiece, q: Tensor, keys: dict[int, Keys]) -> Tensor:
        """Output of the queries of all tokens, q [N, heads, D]."""
        readers = [self._readers[head] for head in piece.kv_heads]
        if len({len(heads) for heads in readers}) == 1:
            k, v = (torch.cat(column) for column in zip(*(keys[head] for head in piece.kv_heads), strict=True))
            return attend(q, k, v, causal=True).out
        by_head = q.split([len(heads) for heads in readers], 1)
        outs = [attend(q, *keys[head], True).out for q, head in zip(by_head, piece.kv_heads, strict=True)]
        return torch.cat(outs, 1)

    def _give_back(self, turn: int, out: Tensor) -> _Return:
        own = self._pieces[turn]
        sent = [len(parts[own.part]) * len(own.heads) for parts in self._parts]
        mine = self._parts[self._mesh.rank]
        counts = [len(mine[pieces[turn].part]) * len(pieces[turn].heads) for pieces in self._cut.by_rank]
        rows = out.new_empty(sum(counts), out.shape[2])
        return _Return(turn, rows, counts, self._mesh.all_to_all_single(rows, out.flatten(0, 1), counts, sent))

    def _place(self, back: _Return, out: Tensor) -> None:
        parts = self._parts[self._mesh.rank]
        for rows, split, pieces in zip(back.rows.split(back.counts), self._splits, self._cut.by_rank, strict=True):
            piece = pieces[back.round]
            if rows.shape[0] > 0:
                heads = _heads(split.heads, piece.heads)
                out[_rows(parts[piece.part]), heads] = rows.view(-1, len(piece.heads), rows.shape[1])


def _rows(run: range) -> slice:
    return slice(run.start, run.stop)


def _heads(share: range, run: range) -> slice:
    """A rank's numbers of heads as the model's."""
    return slice(share.start + run.start, share.start + run.stop)
