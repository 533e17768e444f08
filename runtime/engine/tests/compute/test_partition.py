from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from csps_engine.core.plan import PAGE_TOKENS
from csps_engine.pipeline.partition import Span, contiguous, owner, zigzag

tokens = st.integers(1, 20_000)
ranks = st.integers(1, 9)


def covered(spans: list[Span]) -> list[int]:
    return [i for span in sorted(spans) for i in range(span.start, span.stop)]


@given(tokens=tokens, parts=ranks)
def test_contiguous_parts_hold_every_token_once_and_start_at_pages(tokens: int, parts: int) -> None:
    spans = contiguous(tokens, parts)
    assert len(spans) == parts
    assert covered(spans) == list(range(tokens))
    assert all(span.start % PAGE_TOKENS == 0 for span in spans if span.tokens > 0)


@given(tokens=tokens, parts=ranks)
def test_parts_differ_by_one_page_at_most(tokens: int, parts: int) -> None:
    pages = [-(-span.tokens // PAGE_TOKENS) for span in contiguous(tokens, parts)]
    assert max(pages) - min(pages) <= 1


@given(tokens=tokens, size=ranks)
def test_zigzag_holds_every_token_once_and_starts_at_pages(tokens: int, size: int) -> None:
    owned = zigzag(tokens, size)
    spans = [span for pair in owned for span in pair]
    assert covered(spans) == list(range(tokens))
    assert all(span.start % PAGE_TOKENS == 0 for span in spans if span.tokens > 0)
    assert all(early.stop <= late.start or late.tokens == 0 for early, late in owned)


@given(pages=st.integers(8, 200), size=st.integers(2, 8))
def test_zigzag_balances_causal_work(pages: int, size: int) -> None:
    count = pages * 2 * size * PAGE_TOKENS
    work = [sum(span.tokens * (span.start + span.stop) / 2 for span in pair) for pair in zigzag(count, size)]
    assert max(work) / min(work) < 1.001


@given(tokens=tokens, size=ranks)
def test_the_owner_of_a_position_has_it_in_a_span(tokens: int, size: int) -> None:
    owned = zigzag(tokens, size)
    for position in (0, tokens // 2, tokens - 1):
        spans = owned[owner(owned, position)]
        assert any(span.start <= position < span.stop for span in spans)
