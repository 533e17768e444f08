"""How the attention of one layer is cut into pieces, so that one computes while the next is under way.

Heads are cut first: a piece of heads brings its own keys and values and costs no merge. Only then
    kvGather   keys are cut into each rank's early and its late chunk       (one merge of partial results more)
    allToAll   the queries of a KV head, then the query tokens are cut      (its keys came with its first piece)
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal, NamedTuple

from csps_engine.pipeline.mode import HeadSplit

PIECE_QUERIES = 128
"""Fewer queries than this are no piece: what is saved would go into calls."""

Chunks = Literal["both", "early", "late"]


class KvPiece(NamedTuple):
    """Keys that travel together in the kvGather form."""

    kv_heads: range
    chunks: Chunks
    """Which of every rank's two chunks."""


class QueryPiece(NamedTuple):
    """Queries that travel together in the allToAll form, each number counted within a rank's share of heads."""

    heads: range
    kv_heads: range
    """The KV heads that they read."""
    brings_keys: bool
    """Whether those keys and values travel with them; else an earlier piece brought them."""
    part: int
    """Which part of each rank's tokens, of `QueryCut.token_parts`."""


@dataclass(frozen=True, slots=True)
class QueryCut:
    """The pieces of one layer in the allToAll form."""

    pieces: tuple[QueryPiece, ...]
    token_parts: int


def even(count: int, parts: int) -> list[range]:
    """`count` numbers cut into `parts` runs, whose lengths differ by one at most."""
    small, larger = divmod(count, parts)
    starts = [part * small + min(part, larger) for part in range(parts + 1)]
    return [range(a, b) for a, b in itertools.pairwise(starts)]


def kv_piece_counts(kv_heads: int, queries: int) -> list[int]:
    """Numbers of pieces that the kvGather form can make for ranks of `queries` tokens each."""
    if queries < 2 * PIECE_QUERIES:
        return [1]
    return [*range(1, kv_heads + 1), 2 * kv_heads]


def kv_pieces(kv_heads: int, count: int) -> list[KvPiece]:
    """At most `count` pieces. Early chunks go first: every other rank needs those."""
    if count < 2 * kv_heads:
        return [KvPiece(heads, "both") for heads in even(kv_heads, min(count, kv_heads))]
    order: tuple[Chunks, Chunks] = ("early", "late")
    return [KvPiece(heads, chunks) for chunks in order for heads in even(kv_heads, kv_heads)]


def query_piece_counts(split: HeadSplit, queries: int) -> list[int]:
    """Numbers of pieces that the allToAll form can make for ranks of `queries` tokens each."""
    if queries < 2 * PIECE_QUERIES:
        return [1]
    heads, kv_heads = len(split.heads), len(split.kv_heads)
    by_token = [heads * parts for parts in (2, 4, 8) if queries >= parts * PIECE_QUERIES]
    by_head = [kv_heads * parts for parts in range(2, heads // kv_heads + 1)]
    return [*range(1, kv_heads + 1), *by_head, *by_token]


def query_pieces(split: HeadSplit, count: int) -> QueryCut:
    """About `count` pieces: what `query_piece_counts` lists is met, of others the next lower is taken."""
    heads, kv_heads = len(split.heads), len(split.kv_heads)
    group = heads // kv_heads
    if count <= kv_heads:
        groups = [(run, range(run.start * group, run.stop * group)) for run in even(kv_heads, count)]
        return QueryCut(tuple(QueryPiece(queries, run, True, 0) for run, queries in groups), 1)
    subgroups, parts = min(group, count // kv_heads), max(1, count // heads)
    pieces = []
    for kv_head in range(kv_heads):
        for number, run in enumerate(even(group, subgroups)):
            queries = range(kv_head * group + run.start, kv_head * group + run.stop)
            for part in range(parts):
                first = number == 0 and part == 0
                pieces.append(QueryPiece(queries, range(kv_head, kv_head + 1), first, part))
    return QueryCut(tuple(pieces), parts)
