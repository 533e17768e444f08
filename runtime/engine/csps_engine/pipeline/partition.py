"""How the tokens of a prompt are cut between ranks. Every cut is at a page boundary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from csps_engine.core.plan import PAGE_TOKENS


class Span(NamedTuple):
    """Positions [start, stop)."""

    start: int
    stop: int

    @property
    def tokens(self) -> int:
        return self.stop - self.start


def contiguous(tokens: int, parts: int, page_tokens: int = PAGE_TOKENS) -> list[Span]:
    """Cut `tokens` into `parts` runs of whole pages, in order; sizes differ by a page at most, some may be empty."""
    pages = -(-tokens // page_tokens)
    small, larger = divmod(pages, parts)
    spans: list[Span] = []
    start = 0
    for part in range(parts):
        stop = min(tokens, start + (small + (1 if part < larger else 0)) * page_tokens)
        spans.append(Span(start, stop))
        start = stop
    return spans


def zigzag(tokens: int, ranks: int, page_tokens: int = PAGE_TOKENS) -> list[tuple[Span, Span]]:
    """Cut into 2*ranks chunks; rank r owns chunks r and 2*ranks-1-r, so that causal work is balanced.

    A single rank has nothing to balance and owns one chunk.
    """
    if ranks == 1:
        return [(Span(0, tokens), Span(tokens, tokens))]
    chunks = contiguous(tokens, 2 * ranks, page_tokens)
    return [(chunks[rank], chunks[2 * ranks - 1 - rank]) for rank in range(ranks)]


def owner(owned: Sequence[Sequence[Span]], position: int) -> int:
    """The rank one of whose spans holds `position`; `owned` lists spans by rank."""
    return next(rank for rank, spans in enumerate(owned) if any(span.start <= position < span.stop for span in spans))
