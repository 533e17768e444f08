"""The pieces of one layer in the allToAll form: what travels to each rank at once.

Each rank's share of heads is cut by KV head first: such a piece brings its own keys and costs no merge. Only then the
queries of a KV head, then the query tokens are cut (the keys came with the first piece). Ranks whose shares differ have
equally many pieces, some of them empty, for all ranks exchange each piece together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from csps_engine.pipeline.mode import HeadSplit, even


class QueryPiece(NamedTuple):
    """Queries that travel together to one rank, each number counted within its share of heads."""

    heads: range
    kv_heads: range
    """The KV heads that they read."""
    brings_keys: bool
    """Whether those keys and values travel with them; else an earlier piece brought them."""
    part: int
    """Which part of each rank's tokens, of `QueryCut.token_parts`."""


NOTHING = QueryPiece(range(0), range(0), False, 0)


@dataclass(frozen=True, slots=True)
class QueryCut:
    """The pieces of every rank, equally many."""

    by_rank: tuple[tuple[QueryPiece, ...], ...]
    token_parts: int

    @property
    def rounds(self) -> int:
        return len(self.by_rank[0])


def cut_queries(splits: Sequence[HeadSplit], count: int) -> QueryCut:
    """About `count` pieces: what `query_piece_counts` lists is met, of others the next lower is taken."""
    token_parts = max(1, count // max(len(split.heads) for split in splits))
    pieces = [_pieces(split, count, token_parts) for split in splits]
    rounds = max(len(own) for own in pieces)
    return QueryCut(tuple((*own, *[NOTHING] * (rounds - len(own))) for own in pieces), token_parts)


def _pieces(split: HeadSplit, count: int, token_parts: int) -> list[QueryPiece]:
    readers = split.readers()
    if count <= len(readers):
        runs = even(len(readers), count)
        return [QueryPiece(range(readers[r.start].start, readers[r.stop - 1].stop), r, True, 0) for r in runs]
    pieces = []
    for kv_head, heads in enumerate(readers):
        for number, run in enumerate(even(len(heads), min(len(heads), count // len(readers)))):
            queries = range(heads.start + run.start, heads.start + run.stop)
            for part in range(token_parts):
                first = number == 0 and part == 0
                pieces.append(QueryPiece(queries, range(kv_head, kv_head + 1), first, part))
    return pieces
