"""How the attention of one layer is cut into pieces, so that one computes while the next is under way.

Heads are cut first: a piece of heads brings its own keys and values and costs no merge. Only then
    kvGather   keys are cut into each rank's early and its late chunk       (one merge of partial results more)
    allToAll   the queries of a KV head, then the query tokens are cut      (see query_cut.py)
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from csps_engine.core.plan import ExactMode
from csps_engine.model.config import ModelConfig
from csps_engine.pipeline.mode import HeadSplit, even, split_heads

PIECE_QUERIES = 128
"""Fewer queries than this are no piece: what is saved would go into calls."""

Chunks = Literal["both", "early", "late"]


class KvPiece(NamedTuple):
    """Keys that travel together in the kvGather form."""

    kv_heads: range
    chunks: Chunks
    """Which of every rank's two chunks."""


def piece_counts(config: ModelConfig, mode: ExactMode, tokens: int, ranks: int) -> list[int]:
    """Numbers of pieces, rising from 1, that a layer of a prompt can be exchanged in."""
    queries = tokens // ranks
    if mode == "local":
        return [1]
    if mode == "kvGather":
        return kv_piece_counts(config.kv_heads, queries)
    return query_piece_counts(split_heads(config, ranks)[0], queries)


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
