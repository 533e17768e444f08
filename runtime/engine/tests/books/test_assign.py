from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from csps_engine.scheduler.assign import BUSY_EFFICIENCY, Group, Start, Underway, Waiting, assign
from csps_engine.scheduler.turn import PASSED_FOR, PATIENCE, Objective

seeds = st.integers(0, 2**32)


def costs(overhead: float, quadratic: float) -> Callable[[int, int], float]:
    """Seconds of linear and quadratic work that is cut evenly, and of an overhead that grows with the ranks."""
    return lambda tokens, ranks: (tokens * 1e-4 + quadratic * tokens**2) / ranks + overhead * (ranks - 1)


EASY = costs(overhead=0.01, quadratic=1e-8)


def group_of(ranks: int, *underway: Underway, line_seconds: float = 0.0) -> Group:
    return Group(tuple(range(ranks)), tuple(underway), EASY, line_seconds)


def situation_of(seed: int) -> tuple[list[Waiting], Group]:
    """Some prompts that wait and a group that is partly at work; some of its ranks may be closed."""
    chance = Random(seed)
    size = chance.randint(1, 8)
    free, underway = list(range(size)), []
    chance.shuffle(free)
    while free and chance.random() < 0.5:
        count = chance.randint(1, len(free))
        ranks, free = sorted(free[:count]), free[count:]
        underway.append(Underway(tuple(ranks), chance.uniform(0.001, 20)))
    open_ranks = sorted(chance.sample(range(size), chance.randint(1, size)))
    waiting = [
        Waiting(
            f"r{n}", chance.choice([20, 300, 2_000, 8_000, 30_000]), chance.uniform(0, 100), chance.randint(0, size)
        )
        for n in range(chance.randint(0, 6))
    ]
    seconds = costs(chance.choice([0.0, 0.01, 0.5]), chance.choice([0.0, 1e-8]))
    return waiting, Group(tuple(open_ranks), tuple(underway), seconds, chance.choice([0.0, 0.5]))


@given(seeds)
def test_no_rank_is_in_two_prompts_at_once_unless_it_computes_both_alone_in_a_short_line(seed: int) -> None:
    waiting, group = situation_of(seed)
    starts = assign(waiting, group)
    assert len({start.request_id for start in starts}) == len(starts)
    alone = dict.fromkeys(group.ranks, 0.0)
    shared: set[int] = set()
    for prompt in group.underway:
        if len(prompt.ranks) > 1:
            shared.update(prompt.ranks)
        elif prompt.ranks[0] in alone:
            alone[prompt.ranks[0]] += prompt.seconds_left
    tokens = {prompt.request_id: prompt.tokens for prompt in waiting}
    for start in starts:
        assert list(start.ranks) == sorted(set(start.ranks))
        assert set(start.ranks) <= set(group.ranks)
        assert shared.isdisjoint(start.ranks)
        if len(start.ranks) == 1:
            assert alone[start.ranks[0]] <= group.line_seconds
            alone[start.ranks[0]] += group.seconds(tokens[start.request_id], 1)
        else:
            assert all(alone[rank] == 0 for rank in start.ranks)
            shared.update(start.ranks)


@given(seeds)
def test_a_prompt_never_takes_more_ranks_than_are_wanted_for_it(seed: int) -> None:
    waiting, group = situation_of(seed)
    wanted = {prompt.request_id: prompt.degree or len(group.ranks) for prompt in waiting}
    assert all(1 <= len(start.ranks) <= wanted[start.request_id] for start in assign(waiting, group))


@given(seeds)
def test_something_begins_when_every_rank_is_free(seed: int) -> None:
    waiting, group = situation_of(seed)
    idle = dataclasses.replace(group, underway=())
    assert bool(assign(waiting, idle)) == bool(waiting)


@settings(max_examples=20)
@given(st.integers(2, 5), st.floats(0.2, 0.5), st.integers(4_000, 10_000), st.sampled_from([math.inf, 0.5, 3.0]))
@example(ranks=4, gap=0.205, tokens=9_686, objective=math.inf)
def test_no_stream_of_shorter_prompts_keeps_a_long_one_waiting_for_ever(
    ranks: int, gap: float, tokens: int, objective: float
) -> None:
    """More short work comes than the group can do; the long prompt waits for what came before its turn, no longer.
    With objectives it is late, and newer ones that are not pass it until it has waited for PASSED_FOR of them. A short
    one may take three ranks of four and leave the last one idle."""
    turn = PATIENCE * min(EASY(tokens, n) for n in range(1, ranks + 1))
    before = 2 * ranks * (1 + int(turn / gap))
    paying = [n for n in range(1, ranks + 1) if EASY(2_000, 1) >= BUSY_EFFICIENCY * n * EASY(2_000, n)]
    each = max(EASY(2_000, n) / (ranks // n) for n in paying)
    limit = turn + (before + ranks) * each + EASY(2_000, 1)
    if objective < math.inf:
        limit += PASSED_FOR * objective
    running: list[tuple[float, tuple[int, ...]]] = []
    waiting, now, arrivals = [Waiting("long", tokens, since=0.0, degree=ranks)], 0.0, 0
    while any(prompt.request_id == "long" for prompt in waiting):
        assert now <= limit
        while arrivals * gap <= now:
            waiting += [Waiting(f"s{arrivals}.{n}", 2_000, since=arrivals * gap) for n in range(2 * ranks)]
            arrivals += 1
        running = [(end, taken) for end, taken in running if end > now]
        underway = tuple(Underway(taken, end - now) for end, taken in running)
        waiting = [dataclasses.replace(one, objective=Objective(objective, now - one.since)) for one in waiting]
        for start in assign(waiting, Group(tuple(range(ranks)), underway, EASY)):
            prompt = next(one for one in waiting if one.request_id == start.request_id)
            waiting.remove(prompt)
            running.append((now + EASY(prompt.tokens, len(start.ranks)), start.ranks))
        now = min([arrivals * gap, *(end for end, _ in running)])


@given(seeds, st.sampled_from([Objective(1000.0, 0.0), Objective(1000.0, 900.0), Objective(0.001, 0.002)]))
def test_objectives_change_nothing_while_all_prompts_keep_them_or_all_are_late(seed: int, alike: Objective) -> None:
    waiting, group = yielding(seed)
    with_objectives = [dataclasses.replace(prompt, objective=alike) for prompt in waiting]
    assert assign(with_objectives, group) == assign(waiting, group)


def test_a_late_prompt_lets_those_pass_that_can_be_in_time_until_it_has_waited_for_long() -> None:
    def first(*waited: float) -> str:
        """Of prompts that take 0.1 s, with an objective of 1 s, in the order in which they came."""
        prompts = [
            Waiting(f"waited {seconds}", 1_000, since=100 - seconds, objective=Objective(1.0, seconds))
            for seconds in waited
        ]
        (start,) = assign(prompts, group_of(1))
        return start.request_id

    assert first(0.5, 0.2) == "waited 0.5"
    assert first(2.0, 0.5, 0.2) == "waited 0.5"
    assert first(2.0, 0.95) == "waited 2.0", "neither can be in time"
    assert first(3.0, 2.0) == "waited 3.0"
    assert first(5.0, 4.5, 0.5) == "waited 5.0"


def test_a_degree_that_is_wanted_is_taken_whatever_it_costs_if_so_many_ranks_are_free() -> None:
    dear = dataclasses.replace(group_of(4), seconds=costs(overhead=5.0, quadratic=0.0))
    for degree in (1, 2, 3, 4, 9):
        ranks = tuple(range(min(degree, 4)))
        assert assign([Waiting("r", 500, since=0.0, degree=degree)], dear) == [Start("r", ranks)]
    assert assign([Waiting("r", 500, since=0.0)], dear) == [Start("r", (0,))]


def test_a_prompt_that_few_ranks_would_be_at_for_too_long_takes_more_than_are_wanted() -> None:
    group = dataclasses.replace(group_of(4), fits=lambda tokens, ranks: tokens <= 10_000 * ranks)
    assert assign([Waiting("r", 9_000, since=0.0, degree=1)], group) == [Start("r", (0,))]
    assert assign([Waiting("r", 25_000, since=0.0, degree=1)], group) == [Start("r", (0, 1, 2))]
    assert assign([Waiting("r", 90_000, since=0.0, degree=1)], group) == [Start("r", (0, 1, 2, 3))]


def test_short_prompts_begin_side_by_side_and_a_long_one_takes_all_ranks() -> None:
    shorts = [Waiting(f"s{n}", 100, since=float(n)) for n in range(4)]
    assert {start.ranks for start in assign(shorts, group_of(4))} == {(0,), (1,), (2,), (3,)}
    assert assign([Waiting("long", 20_000, since=0.0)], group_of(4)) == [Start("long", (0, 1, 2, 3))]


def test_a_long_prompt_takes_the_ranks_that_are_free_when_the_others_are_taken_for_longer() -> None:
    busy = group_of(4, Underway((0, 1), 60.0))
    assert assign([Waiting("long", 20_000, since=0.0)], busy) == [Start("long", (2, 3))]


def test_a_short_prompt_uses_ranks_that_wait_for_others_if_it_gives_them_back_in_time() -> None:
    busy = group_of(4, Underway((0, 1), 1.0))
    long, short, middle = (
        Waiting("long", 40_000, since=0.0, degree=4),
        Waiting("short", 200, since=30.0),
        Waiting("middle", 30_000, since=31.0),
    )
    assert assign([long, short, middle], busy) == [Start("short", (2,))]


def test_a_short_prompt_stands_in_line_on_a_rank_that_is_soon_done() -> None:
    busy = group_of(2, Underway((0, 1), 5.0), line_seconds=0.1)
    assert assign([Waiting("short", 100, since=0.0)], busy) == []
    line = group_of(1, Underway((0,), 0.05), line_seconds=0.1)
    assert assign([Waiting("short", 100, since=0.0)], line) == [Start("short", (0,))]


def yielding(seed: int) -> tuple[list[Waiting], Group]:
    """As `situation_of`, with prompts under way that may yield, some of which go before others themselves."""
    chance = Random(seed)
    waiting, group = situation_of(seed)
    underway = tuple(
        dataclasses.replace(one, yields=chance.choice([0.0, chance.uniform(0, 5)]), before=chance.random() < 0.2)
        for one in group.underway
    )
    return waiting, dataclasses.replace(group, underway=underway, pass_tokens=chance.choice([0, 64, 700]))


@given(seeds)
def test_prompts_go_before_much_longer_ones_alone_and_delay_them_by_what_they_may(seed: int) -> None:
    waiting, group = yielding(seed)
    tokens = {prompt.request_id: prompt.tokens for prompt in waiting}
    passed: set[int] = set()
    for start in assign(waiting, group):
        if not start.before or start.joined:
            continue
        seconds = group.seconds(tokens[start.request_id], len(start.ranks))
        delayed = [one for one in group.underway if not set(one.ranks).isdisjoint(start.ranks)]
        assert delayed
        assert all(not one.before and seconds <= one.yields and 2 * seconds <= one.seconds_left for one in delayed)
        assert passed.isdisjoint(start.ranks)
        passed.update(start.ranks)


@given(seeds)
def test_prompts_of_one_pass_are_on_one_rank_and_not_more_than_it_takes(seed: int) -> None:
    waiting, group = yielding(seed)
    prompts = {prompt.request_id: prompt for prompt in waiting}
    starts = {start.request_id: start for start in assign(waiting, group)}
    together: dict[str, int] = {}
    for start in starts.values():
        if start.joined:
            first = starts[start.joined]
            assert not first.joined
            assert (start.ranks, start.before) == (first.ranks, first.before)
            assert len(start.ranks) == 1
            assert prompts[start.request_id].degree <= 1
            together.setdefault(first.request_id, prompts[first.request_id].tokens)
            together[first.request_id] += prompts[start.request_id].tokens
    assert all(total <= group.pass_tokens for total in together.values())


def test_a_short_prompt_goes_before_a_long_one_that_has_every_rank() -> None:
    long = Underway((0, 1, 2, 3), 10.0, yields=10.0)
    (start,) = assign([Waiting("short", 200, since=1.0)], group_of(4, long))
    assert start.before
    worn_out = dataclasses.replace(long, yields=0.001)
    assert assign([Waiting("short", 200, since=1.0)], group_of(4, worn_out)) == []


def test_short_prompts_that_would_wait_are_computed_in_one_pass() -> None:
    waiting = [Waiting(f"r{n}", 20, since=float(n)) for n in range(5)]
    group = dataclasses.replace(group_of(1), pass_tokens=64)
    starts = assign(waiting, group)
    assert [(start.request_id, start.joined) for start in starts] == [("r0", ""), ("r1", "r0"), ("r2", "r0")]
    apart = [dataclasses.replace(prompt, joins=False) for prompt in waiting]
    assert [start.request_id for start in assign(apart, group)] == ["r0"]
