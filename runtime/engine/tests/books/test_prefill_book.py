"""The coordinator's book of a prefill group, with costs that are given."""

from __future__ import annotations

import dataclasses

import pytest

from csps_engine.core.plan import AttentionKind, Sampling
from csps_engine.loop.prefill_book import SLICE_SECONDS, Passes, PrefillBook
from csps_engine.loop.prefill_costs import PrefillCosts
from csps_engine.loop.prefill_queue import PrefillTask
from csps_engine.loop.prefill_run import COMPUTING, DONE, PUSHING, Standing
from csps_engine.scheduler.ticks import Tick
from csps_engine.wire.generated import PagePlace, RankRef, Reservation

LAYERS = 10


class GivenCosts(PrefillCosts):
    """A layer takes 0.1 ms a token, cut evenly, and 10 ms for each rank more than one; measured when told."""

    def __init__(self) -> None:
        self.known = True
        self.told: list[tuple[int, int, AttentionKind]] = []

    @property
    def measured(self) -> bool:
        return self.known

    def attention(self, tokens: int, ranks: int, asked: AttentionKind | None = None) -> AttentionKind:
        return asked or ("sparse" if ranks > 1 and tokens >= 2000 else "dense")

    def pieces(self, tokens: int, ranks: int) -> int:
        return 3 if ranks > 1 else 1

    def seconds(self, tokens: int, ranks: int) -> float:
        return LAYERS * self.layer_seconds(tokens, ranks)

    def layer_seconds(self, tokens: int, ranks: int, attention: AttentionKind = "dense") -> float:
        return tokens * (1e-4 if attention == "dense" else 0.6e-4) / ranks + 0.01 * (ranks - 1)

    def took(self, tokens: int, ranks: int, attention: AttentionKind, layer_seconds: float) -> None:
        self.told.append((tokens, ranks, attention))


@pytest.fixture
def book() -> PrefillBook:
    return PrefillBook(GivenCosts(), LAYERS)


def task(name: str, tokens: int, since: float = 0.0, degree: int = 0) -> PrefillTask:
    holder = RankRef(rank_id="d", incarnation="i", address="10.0.0.1", control_port=1, transfer_port=2)
    pages = [PagePlace(page=0, rank_id="d", slot=0)]
    reservation = Reservation(
        request_id=name, epoch=1, home_rank="d", holders=[holder], pages=pages, page_tokens=64, kv_format="f"
    )
    return PrefillTask(name, (1,) * tokens, Sampling(), reservation, since, since + 1000, degree=degree)


def advanced(tick: Tick | None) -> dict[str, int]:
    assert tick is not None
    return {advance.request_id: advance.layers for advance in tick.advances}


def heard(book: PrefillBook, tick: Tick | None, **states: int) -> None:
    assert tick is not None
    seconds = {a.request_id: a.layers * 0.05 for a in tick.advances}
    book.heard(tick, {name: Standing(state, None, 0, seconds.get(name, 0.0)) for name, state in states.items()})


def test_two_short_prompts_begin_in_one_tick_on_different_ranks(book: PrefillBook) -> None:
    book.queue.add(task("a", 100))
    book.queue.add(task("b", 100))
    tick = book.next_tick([0, 1, 2], True, now=1.0)
    assert tick is not None
    assert [(order.request_id, order.ranks, order.pieces) for order in tick.orders] == [("a", (0,), 1), ("b", (1,), 1)]


@pytest.mark.parametrize(("waited_before", "begun"), [(0.0, "timely"), (10.0, "early")])
def test_late_prompts_stand_back_by_the_time_they_have_waited_here_and_before(
    book: PrefillBook, waited_before: float, begun: str
) -> None:
    early, timely = task("early", 2_000), task("timely", 2_000, since=2.4)
    book.queue.add(dataclasses.replace(early, objective_seconds=3.0, waited_seconds=waited_before))
    book.queue.add(dataclasses.replace(timely, objective_seconds=3.0))
    tick = book.next_tick([0], True, now=2.5)
    assert tick is not None
    assert [order.request_id for order in tick.orders] == [begun]


def test_ranks_that_are_free_begin_a_short_prompt_while_a_long_one_is_under_way(book: PrefillBook) -> None:
    book.queue.add(task("long", 10_000, degree=2))
    assert advanced(book.next_tick([0, 1, 2], True, now=1.0)) == {"long": 1}
    book.queue.add(task("short", 100, since=1.5))
    tick = book.next_tick([0, 1, 2], True, now=2.0)
    assert tick is not None
    assert [(order.request_id, order.ranks) for order in tick.orders] == [("short", (2,))]
    # A layer of the long one takes half a second; the short one is through all its layers by then.
    assert advanced(tick) == {"long": 1, "short": LAYERS}


def test_layers_of_equal_prompts_share_the_slice_of_a_rank_that_computes_them_in_line(book: PrefillBook) -> None:
    for name in ("a", "b"):
        book.queue.add(task(name, 80, degree=1))
    tick = book.next_tick([0], True, now=1.0)
    assert sum(layers * 80e-4 for layers in advanced(tick).values()) <= SLICE_SECONDS + 1e-9
    assert list(advanced(tick)) == ["a", "b"]


def test_a_prompts_layers_are_counted_to_their_end_and_then_it_waits_for_the_pool(book: PrefillBook) -> None:
    book.queue.add(task("a", 5_000, degree=1))
    counted = 0
    while counted < LAYERS:
        tick = book.next_tick([0], True, now=1.0)
        counted += advanced(tick)["a"]
        heard(book, tick, a=COMPUTING if counted < LAYERS else PUSHING)
    assert counted == LAYERS
    assert book.running["a"].computed_at is not None
    tick = book.next_tick([0], True, now=2.0)
    assert advanced(tick) == {}
    heard(book, tick, a=DONE)


def test_nothing_begins_while_the_epoch_is_to_end(book: PrefillBook) -> None:
    book.queue.add(task("a", 100))
    assert book.next_tick([0], False, now=1.0) is None
    assert len(book.queue) == 1


def test_a_prompt_that_is_left_is_told_once_and_computed_no_further(book: PrefillBook) -> None:
    book.queue.add(task("a", 100_000, degree=1))
    book.next_tick([0], True, now=1.0)
    assert book.leave("a")
    assert not book.leave("a")
    tick = book.next_tick([0], True, now=1.0)
    assert tick is not None
    assert (tick.ended, tick.advances) == (("a",), ())
    assert book.next_tick([0], True, now=1.0) is None


def test_a_group_measures_when_idle_or_before_a_prompt_that_it_would_cut(book: PrefillBook) -> None:
    costs = book._costs
    assert isinstance(costs, GivenCosts)
    assert not book.wants_measuring(2)
    costs.known = False
    assert book.wants_measuring(2)
    book.queue.add(task("short", 1_023))
    assert not book.wants_measuring(2)
    book.queue.add(task("long", 1_024))
    assert book.wants_measuring(2)


def test_a_short_prompt_goes_before_a_long_one_that_has_every_rank_which_then_goes_on(book: PrefillBook) -> None:
    book.queue.add(dataclasses.replace(task("long", 20_000, degree=2), attention="dense"))
    assert advanced(book.next_tick([0, 1], True, now=1.0)) == {"long": 1}
    book.queue.add(task("short", 3_000, since=1.5, degree=1))
    tick = book.next_tick([0, 1], True, now=2.0)
    assert tick is not None
    assert [order.request_id for order in tick.orders] == ["short"]
    # A slice is a layer of the long one, 1 s: three of the short one's fit, and the long one waits.
    assert advanced(tick) == {"short": 3}
    heard(book, tick, short=COMPUTING, long=COMPUTING)
    assert book.running["long"].yielded == pytest.approx(0.15)
    while book.running["short"].layers_left:
        tick = book.next_tick([0, 1], True, now=3.0)
        heard(book, tick, short=PUSHING, long=COMPUTING)
    assert advanced(book.next_tick([0, 1], True, now=4.0)) == {"long": 1}


@pytest.mark.parametrize("passes", [Passes(64), Passes(64, sparse=False)], ids=["any", "exact ones"])
def test_prompts_of_one_pass_advance_as_one_and_go_on_when_the_first_is_left(passes: Passes) -> None:
    book = PrefillBook(GivenCosts(), LAYERS, passes=passes)
    for name in ("a", "b", "c"):
        book.queue.add(task(name, 20))
    tick = book.next_tick([0], True, now=1.0)
    assert tick is not None
    assert [(order.request_id, order.joined) for order in tick.orders] == [("a", ""), ("b", "a"), ("c", "a")]
    # All of them are 60 tokens: 6 ms a layer, so that a slice holds every layer.
    assert advanced(tick) == {"a": LAYERS}
    book.running["a"].layers_done = book.running["b"].layers_done = book.running["c"].layers_done = 4
    assert book.leave("a")
    tick = book.next_tick([0], True, now=1.0)
    assert advanced(tick) == {"b": LAYERS - 4}
    heard(book, tick, b=PUSHING, c=PUSHING)
    assert book.running["c"].layers_left == 0
    assert book.running["c"].computed_at is not None


@pytest.mark.parametrize(
    ("tokens", "degree", "asked", "attention"),
    [
        (4000, 2, None, "sparse"),
        (1000, 2, None, "dense"),
        (4000, 1, None, "dense"),
        (4000, 2, "dense", "dense"),
        (1000, 2, "sparse", "sparse"),
    ],
)
def test_a_prompt_is_thinned_where_that_pays_unless_its_request_says(
    book: PrefillBook, tokens: int, degree: int, asked: AttentionKind | None, attention: AttentionKind
) -> None:
    book.queue.add(dataclasses.replace(task("a", tokens, degree=degree), attention=asked))
    tick = book.next_tick([0, 1], True, now=1.0)
    assert tick is not None
    assert [(len(order.ranks), order.attention) for order in tick.orders] == [(degree, attention)]
    # It is foreseen, and later learnt from, as what it is.
    costs, prompt = book._costs, book.running["a"]
    assert isinstance(costs, GivenCosts)
    assert prompt.layer_seconds == costs.layer_seconds(tokens, degree, attention)
    prompt.layers_done = LAYERS - 1
    tick = book.next_tick([0, 1], True, now=2.0)
    heard(book, tick, a=PUSHING)
    assert costs.told == [(tokens, degree, attention)]


def reusing(name: str, tokens: int, pages: int) -> PrefillTask:
    one = task(name, tokens, degree=1)
    return dataclasses.replace(one, reservation=one.reservation.model_copy(update={"shared_pages": pages}))


def test_a_prompt_goes_on_with_what_of_its_beginning_has_come_and_others_do_not_wait_for_it(book: PrefillBook) -> None:
    book.queue.add(reusing("known", 1000, pages=10))
    assert advanced(book.next_tick([0], True, now=1.0)) == {}
    book.queue.add(task("other", 100, degree=1))
    tick = book.next_tick([0], True, now=1.0)
    assert advanced(tick) == {"other": LAYERS}
    assert tick is not None
    book.heard(tick, {"known": Standing(COMPUTING, None, 0, 0.0, 0), "other": Standing(DONE, None, 0, 0.01)})
    assert book.running["known"].yielded == 0
    del book.running["other"]
    tick = book.next_tick([0], True, now=1.0)
    assert advanced(tick) == {}
    assert tick is not None
    book.heard(tick, {"known": Standing(COMPUTING, None, 0, 0.0, 2)})
    tick = book.next_tick([0], True, now=1.0)
    assert advanced(tick) == {"known": 2}
    heard(book, tick, known=COMPUTING)
    # The rest has come: a slice holds two layers of 50 ms.
    assert advanced(book.next_tick([0], True, now=1.0)) == {"known": 2}
