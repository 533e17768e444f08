from __future__ import annotations

import json

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from csps_engine.scheduler.handover import read_handover, write_handover
from csps_engine.scheduler.pool_book import NoPages, PoolBook, PoolMember
from csps_engine.scheduler.request import DecodeOrder, PoolRequest
from csps_engine.scheduler.tick_terms import admitted, holding_of, rows_of

PAGES = 20
RANKS = ("a", "b", "c")


def members(*incarnations: tuple[str, int]) -> list[PoolMember]:
    return [PoolMember(rank, f"{rank}{version}", PAGES) for rank, version in incarnations]


def keys_of(beginning: str, tokens: int) -> tuple[str, ...]:
    """Keys of the full pages of a prompt."""
    return tuple(f"{beginning}, page {page}" for page in range(tokens // 64))


def serving_book() -> PoolBook:
    book = PoolBook()
    book.start_epoch(1, members(("a", 1), ("b", 1), ("c", 1)))
    return book


def reserve(book: PoolBook, request_id: str, prompt: int = 100, new: int = 28) -> PoolRequest:
    answer = book.reserve(request_id, prompt, new, lease_until=10.0)
    assert isinstance(answer, PoolRequest)
    return answer


class PoolLife(RuleBasedStateMachine):
    """Reserves, decodes, frees and changes epochs at random; the book must stay whole."""

    def __init__(self) -> None:
        super().__init__()
        self.book = serving_book()
        self.incarnation = dict.fromkeys(RANKS, 1)
        self.epoch = 1
        self.made = 0

    @rule(prompt=st.integers(1, 1500), new=st.integers(1, 300), kind=st.integers(0, 3))
    def reserve(self, prompt: int, new: int, kind: int) -> None:
        """Prompts of one kind begin alike; those of kind 0 share nothing."""
        self.made += 1
        free = sum(self.book.free_by_rank().values())
        keys = keys_of(f"kind {kind}", prompt) if kind else ()
        answer = self.book.reserve(f"r{self.made}", prompt, new, float(self.made), keys)
        needed, left = -(-(prompt + new) // 64), sum(self.book.free_by_rank().values())
        if isinstance(answer, NoPages):
            assert left == free
            assert needed > free
            assert answer.missing <= needed - answer.free
        else:
            assert len(answer.pages) == len(set(answer.pages)) == needed
            assert answer.shared_pages * 64 < prompt
            assert needed - answer.shared_pages <= free - left <= needed

    @precondition(lambda self: self.book.requests)
    @rule(data=st.data())
    def decode(self, data: st.DataObject) -> None:
        request = self.book.requests[data.draw(st.sampled_from(sorted(self.book.requests)))]
        if request.phase == "reserved":
            shareable = data.draw(st.booleans())
            self.book.begin(request.request_id, DecodeOrder(5, request.max_new_tokens, shareable=shareable))
            self.book.settle(request.request_id)
        for row in rows_of(self.book, 4):
            running = self.book.requests[row.request_id]
            assert row.position < len(running.pages) * 64
            if running.advance(7):
                self.book.end(row.request_id)

    @precondition(lambda self: self.book.requests)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        assert self.book.end(data.draw(st.sampled_from(sorted(self.book.requests))))

    @rule(now=st.floats(0, 200))
    def expire(self, now: float) -> None:
        for request_id in self.book.expired(now):
            assert self.book.requests[request_id].phase == "reserved"
            self.book.end(request_id)

    @rule(present=st.sets(st.sampled_from(RANKS), min_size=1), restarted=st.sets(st.sampled_from(RANKS)))
    def change_epoch(self, present: set[str], restarted: set[str]) -> None:
        for rank in restarted:
            self.incarnation[rank] += 1
        self.epoch += 1
        before = {r.request_id: r.holders for r in self.book.requests.values()}
        stay = (present - restarted) & set(self.book.members)
        lost = self.book.start_epoch(self.epoch, members(*((r, self.incarnation[r]) for r in sorted(present))))
        assert all(before[request_id] <= stay for request_id in self.book.requests)
        assert set(lost) == before.keys() - self.book.requests.keys()
        assert all(request.home in present for request in self.book.requests.values())

    @rule(closed=st.sets(st.sampled_from(RANKS), max_size=2))
    def drain(self, closed: set[str]) -> None:
        self.book.closed = frozenset(closed & set(self.book.members))
        held = {page.rank for request in self.book.requests.values() for page in request.pages}
        homes = {request.home for request in self.book.requests.values()}
        assert self.book.emptied() == self.book.closed - held - homes

    @rule(now=st.floats(0, 100))
    def hand_over(self, now: float) -> None:
        """Another coordinator goes on from what this one wrote."""
        handed = read_handover(json.loads(json.dumps(write_handover(self.book, self.epoch, now))), now)
        other = PoolBook()
        other.closed = self.book.closed
        other.restore(handed.epoch, handed.members, handed.requests, handed.keyed)
        assert other.free_by_rank() == self.book.free_by_rank()
        assert other.ledger.keyed == self.book.ledger.keyed
        self.book = other

    @invariant()
    def is_whole(self) -> None:
        self.book.check_integrity()

    @invariant()
    def equal_keys_are_equal_prompts(self) -> None:
        """Whoever shares a page has the same key for it."""
        keys = {page: key for key, page in self.book.ledger.keyed}
        for request in self.book.requests.values():
            for key, page in zip(request.keys[: request.shared_pages], request.pages, strict=False):
                assert keys[page] == key


PoolLife.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestPoolLife = PoolLife.TestCase


def test_a_request_resumes_only_if_all_its_ranks_are_the_same_incarnations() -> None:
    book = serving_book()
    wide, narrow = reserve(book, "wide", prompt=640), reserve(book, "narrow", prompt=10, new=10)
    assert wide.holders == {"a", "b", "c"}
    gone = next(rank for rank in RANKS if rank not in narrow.holders)
    present = [(rank, 2 if rank == gone else 1) for rank in RANKS]
    assert book.start_epoch(2, members(*present)) == ["wide"]
    assert list(book.requests) == ["narrow"]
    assert book.pages_free == 3 * PAGES - 1


def test_a_holding_names_ranks_by_the_order_of_the_present_epoch() -> None:
    book = serving_book()
    request = reserve(book, "r", prompt=10, new=10)
    (rank, slot) = request.pages[0]
    book.start_epoch(2, members(("c", 1), ("b", 1), ("a", 1)))
    holding = holding_of(book, "r")
    assert holding.places[0] == (["c", "b", "a"].index(rank), slot)
    assert holding.version == 1


def test_the_same_reservation_again_renews_the_lease_and_another_is_an_error() -> None:
    book = serving_book()
    first = reserve(book, "r")
    again = book.reserve("r", 100, 28, lease_until=99.0)
    assert again is first
    assert first.lease_until == 99.0
    with pytest.raises(ValueError, match="other lengths"):
        book.reserve("r", 101, 28, lease_until=99.0)


def test_a_closed_rank_keeps_its_pages_and_gets_no_new_ones() -> None:
    book = serving_book()
    reserve(book, "old", prompt=640)
    book.closed = frozenset({"a"})
    new = reserve(book, "new", prompt=640)
    assert new.holders == {"b", "c"}
    assert new.home != "a"
    refusal = book.reserve("big", 64 * 3 * PAGES, 1, 1.0)
    assert isinstance(refusal, NoPages)
    assert refusal.free == sum(book.free_by_rank().values())


def test_rows_are_limited_to_the_oldest_running_requests() -> None:
    book = serving_book()
    for name in ("first", "second", "third"):
        reserve(book, name, prompt=10, new=10)
        book.begin(name, DecodeOrder(1, 5))
    assert rows_of(book, 8) == ()
    for request_id in admitted(book):
        book.requests[request_id].checked = True
    assert [row.request_id for row in rows_of(book, 2)] == ["first", "second"]


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (DecodeOrder(1, 0), "length"),
        (DecodeOrder(1, 3, frozenset({1})), "stop"),
        (DecodeOrder(1, 3, frozenset({2})), None),
    ],
)
def test_a_decode_may_have_nothing_to_do(order: DecodeOrder, reason: str | None) -> None:
    book = serving_book()
    reserve(book, "r")
    assert book.begin("r", order) == reason


def test_a_page_held_twice_is_noticed() -> None:
    book = serving_book()
    one, two = reserve(book, "one"), reserve(book, "two")
    two.pages[0] = one.pages[0]
    with pytest.raises(AssertionError, match="lost or held twice"):
        book.check_integrity()
