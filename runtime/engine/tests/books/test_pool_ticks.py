from __future__ import annotations

from concurrent.futures import Future

import pytest

from csps_engine.core.plan import SampledToken, StepResult
from csps_engine.loop.pool_reporter import PoolReporter
from csps_engine.loop.pool_requests import PoolRequests
from csps_engine.loop.pool_ticks import PoolTicks
from csps_engine.loop.reports import NO_REPORTS
from csps_engine.loop.reservations import Wish
from csps_engine.metrics import Metrics
from csps_engine.refusal import Refused
from csps_engine.scheduler.pool_book import PoolMember
from csps_engine.scheduler.request import DecodeOrder, PoolRequest
from csps_engine.scheduler.ticks import Tick
from csps_engine.wire.generated import WireMessage


class Coordinator:
    """Of a pool of two ranks, whose members confirm every tick at once."""

    def __init__(self) -> None:
        self.told: list[tuple[str, WireMessage]] = []
        self.reporter = PoolReporter(Metrics(), self.told.extend, lambda _: None, NO_REPORTS)
        self.requests = PoolRequests(page_bytes=4096, reporter=self.reporter)
        self.ticks = PoolTicks(self.requests, max_batch=8)
        self.start_epoch(1)

    def start_epoch(self, number: int) -> None:
        self.requests.start_epoch(number, [PoolMember(rank, f"{rank}1", 10) for rank in ("a", "b")])
        self.ticks.start_epoch()

    def reserve(self, name: str, prompt_tokens: int = 100) -> Future[PoolRequest]:
        return self.requests.reserve(Wish(name, (prompt_tokens, 20), lease_ms=600_000))

    def decode(self, name: str, tokens: int = 5) -> None:
        self.requests.begin(name, 100, DecodeOrder(first_token=1, max_new_tokens=tokens))

    def tick(self) -> Tick | None:
        tick = self.ticks.next(0.0)
        with self.requests.reservations.confirming():
            return tick

    def must_tick(self) -> Tick:
        tick = self.tick()
        assert tick is not None
        return tick

    def events(self, name: str) -> list[str]:
        self.reporter.flush()
        return [event.to_json().decode() for request_id, event in self.told if request_id == name]


def test_the_first_tick_of_an_epoch_tells_everything_and_later_ones_what_is_new() -> None:
    pool = Coordinator()
    assert pool.must_tick().sync
    pool.reserve("old")
    assert [held.request_id for held in pool.must_tick().held] == ["old"]
    pool.reserve("new")
    assert [held.request_id for held in pool.must_tick().held] == ["new"]
    pool.start_epoch(2)
    again = pool.must_tick()
    assert again.sync
    assert again.closed == ()
    assert [held.request_id for held in again.held] == ["old", "new"]


def test_there_is_no_tick_when_there_is_nothing_to_say() -> None:
    pool = Coordinator()
    pool.must_tick()
    assert pool.tick() is None
    pool.reserve("r")
    pool.must_tick()
    assert pool.tick() is None


def test_ranks_that_leave_are_told_once() -> None:
    pool = Coordinator()
    pool.must_tick()
    pool.ticks.close_ranks(frozenset({"b"}))
    assert pool.must_tick().closed == (1,)
    pool.ticks.close_ranks(frozenset({"b"}))
    assert pool.tick() is None


def test_a_reservation_that_is_renewed_is_confirmed_by_a_tick_though_no_member_learns_anything() -> None:
    pool = Coordinator()
    pool.reserve("r")
    pool.must_tick()
    pool.reserve("r")
    assert pool.must_tick().held == ()


def test_a_reservation_that_ends_before_its_tick_is_told_to_nobody_as_held() -> None:
    pool = Coordinator()
    pool.must_tick()
    cancelled, longer = pool.reserve("cancelled"), pool.reserve("r", 200)
    pool.requests.cancel("cancelled")
    shorter = pool.reserve("r", 100)
    for ended in (cancelled, longer):
        with pytest.raises(Refused, match="ended before all ranks knew its pages"):
            ended.result(0)
    (held,) = pool.must_tick().held
    assert (held.request_id, held.prompt_tokens) == ("r", shorter.result(0).prompt_tokens)


def test_a_decode_waits_for_its_kv_then_has_a_row_in_every_tick_until_it_ends() -> None:
    pool = Coordinator()
    pool.reserve("r")
    pool.decode("r", tokens=2)
    first = pool.must_tick()
    assert (first.admitted, first.rows) == (("r",), ())
    pool.requests.check_complete({"r": 0})
    for token in (7, 8):
        tick = pool.must_tick()
        assert [(row.request_id, row.position) for row in tick.rows] == [("r", 93 + token)]
        pool.requests.advance(tick.rows, StepResult({"r": SampledToken(token)}))
    assert pool.must_tick().ended == ("r",)
    assert pool.tick() is None
    assert [event.split('"type":"')[1].split('"')[0] for event in pool.events("r")] == ["token", "token", "done"]


def test_a_decode_whose_kv_did_not_all_arrive_ends_and_every_member_is_told() -> None:
    pool = Coordinator()
    pool.reserve("r")
    pool.decode("r")
    pool.must_tick()
    pool.requests.check_complete({"r": 2})
    assert pool.must_tick().ended == ("r",)
    (event,) = pool.events("r")
    assert "2 pages" in event
    assert not pool.requests.book.requests
