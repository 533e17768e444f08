from __future__ import annotations

from concurrent.futures import Future

import pytest

from csps_engine.loop.reservations import Reservations, Wish
from csps_engine.refusal import Refused, refuse
from csps_engine.scheduler.page_queue import MAX_WAITING
from csps_engine.scheduler.pool_book import PoolBook, PoolMember
from csps_engine.scheduler.request import PoolRequest

Answer = Future[PoolRequest]


class Line:
    """A pool of ten pages, all of them held by `full`."""

    def __init__(self) -> None:
        self.book = PoolBook()
        self.book.start_epoch(1, [PoolMember("a", "a1", 10)])
        self.reservations = Reservations(self.book)
        self.ask("full", pages=10)
        self.tick()

    def ask(self, name: str, pages: int, wait_ms: int = 5_000, now: float = 0.0) -> Answer:
        return self.reservations.ask(Wish(name, (64 * pages - 1, 1), 30_000, wait_ms), now)

    def free_all(self, now: float) -> None:
        """`full` ends, and a tick tells of whoever gets its pages."""
        self.book.end("full")
        self.reservations.serve(now)
        self.tick()

    def tick(self) -> None:
        with self.reservations.confirming():
            self.reservations.take_new()


def test_who_came_first_is_served_first_even_if_a_later_one_would_fit() -> None:
    line = Line()
    long, short = line.ask("long", 6), line.ask("short", 2)
    line.book.end("full")
    line.ask("other", 5, now=1.0)
    line.reservations.serve(1.0)
    line.tick()
    assert [long.done(), short.done()] == [True, True]
    assert line.reservations.waiting == 1
    line.book.end("long")
    line.reservations.serve(2.0)
    assert set(line.book.requests) == {"short", "other"}


def test_a_short_request_does_not_pass_a_long_one() -> None:
    line = Line()
    line.book.end("full")
    line.ask("held", 5)
    line.tick()
    line.ask("long", 6)
    short = line.ask("short", 2)
    line.reservations.serve(1.0)
    assert not short.done()
    with pytest.raises(Refused) as refused:
        line.ask("hurried", 1, wait_ms=0)
    assert refused.value.failure.free_pages == 5


def test_waiting_ends_in_time_with_numbers() -> None:
    line = Line()
    asked = line.ask("late", 3, wait_ms=500)
    assert line.reservations.next_deadline() == 0.5
    line.reservations.serve(0.5)
    with pytest.raises(Refused) as refused:
        asked.result(0)
    failure = refused.value.failure
    assert (failure.code, failure.missing_pages, failure.free_pages) == ("out_of_pages", 3, 0)


def test_what_can_never_fit_and_what_the_line_cannot_hold_are_refused_at_once() -> None:
    line = Line()
    with pytest.raises(Refused, match="the pool has 10 in all"):
        line.ask("huge", 11)
    for number in range(MAX_WAITING):
        line.ask(f"r{number}", 1)
    with pytest.raises(Refused, match="256 requests wait for pages, and no more may"):
        line.ask("one more", 1)


def test_asking_again_keeps_the_place_and_a_cancel_gives_it_up() -> None:
    line = Line()
    first, second = line.ask("first", 8), line.ask("second", 8)
    again = line.ask("first", 8)
    line.free_all(now=0.0)
    assert [first.result(0), again.result(0), second.done()] == [line.book.requests["first"]] * 2 + [False]
    assert line.book.pages_free == 2
    also = line.ask("second", 8)
    line.reservations.cancel("second")
    for answer in (second, also):
        with pytest.raises(Refused, match="was cancelled"):
            answer.result(0)


def test_whoever_asks_again_waits_as_long_as_it_said_and_so_does_the_first() -> None:
    line = Line()
    patient, hurried = line.ask("r", 8, wait_ms=5_000), line.ask("r", 8, wait_ms=500, now=0.1)
    assert line.reservations.next_deadline() == 0.6
    line.reservations.serve(0.6)
    with pytest.raises(Refused, match="waited for them in line"):
        hurried.result(0)
    line.free_all(now=1.0)
    assert patient.result(0).request_id == "r"


def test_pages_go_to_whoever_of_two_askers_is_still_there_and_to_nobody_when_both_left() -> None:
    line = Line()
    first, again = line.ask("r", 8), line.ask("r", 8)
    gone, too = line.ask("left", 2), line.ask("left", 2)
    for left in (first, gone, too):
        left.cancel()
    line.free_all(now=0.0)
    assert again.result(0).request_id == "r"
    assert set(line.book.requests) == {"r"}
    assert line.reservations.waiting == 0


def test_a_wish_with_other_lengths_stands_at_the_end_instead_of_the_first_which_is_told_so() -> None:
    line = Line()
    first, second = line.ask("r", 8), line.ask("second", 2)
    other = line.ask("r", 7)
    with pytest.raises(Refused, match="requestId: r was asked for with other lengths"):
        first.result(0)
    with pytest.raises(Refused, match="the pool has 10 in all"):
        line.ask("r", 11)
    with pytest.raises(Refused, match="requestId: r was asked for with other lengths"):
        other.result(0)
    line.free_all(now=0.0)
    assert second.result(0).request_id == "second"
    assert set(line.book.requests) == {"second"}


def test_a_tick_that_fails_confirms_nothing_and_the_next_one_does() -> None:
    line = Line()
    line.book.end("full")
    asked = line.ask("r", 2)
    with pytest.raises(RuntimeError), line.reservations.confirming():
        raise RuntimeError("the epoch broke")
    assert not asked.done()
    line.tick()
    assert asked.result(0).request_id == "r"


def test_giving_up_refuses_all_and_names_what_nobody_was_told_of() -> None:
    line = Line()
    line.book.end("full")
    untold, waits = line.ask("untold", 9), line.ask("waits", 5)
    assert line.reservations.give_up(refuse("not_ready", "the coordinator leaves")) == ["untold"]
    for future in (untold, waits):
        with pytest.raises(Refused, match="leaves"):
            future.result(0)
