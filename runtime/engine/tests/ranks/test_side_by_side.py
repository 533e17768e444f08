"""Prompts on parts of a prefill group, at once."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from background import Background
from gateway_part import Request, ServingError
from rank_process import Group, Place, RankProcess, others
from tiny_model import Oracle, prompt_of


@pytest.fixture(scope="module")
def started_wide(place: Place) -> Iterator[Group]:
    # Where a layer could come near a collective's time-out, a prompt takes more ranks than it is told to.
    patient = replace(place, settings={**place.settings, "CSPS_COLLECTIVE_TIMEOUT_MS": "60000"})
    with Group(patient, "tiny-wide-0", "prefill", 4).served() as group:
        yield group


@pytest.fixture
def wide(started_wide: Group) -> Group:
    """A serving prefill group of four ranks."""
    started_wide.restore()
    return started_wide


def begin(request: Request, group: RankProcess, pool: RankProcess, degree: int | None) -> Background:
    message = request.prefill_message(request.reserve(pool))
    more = {} if degree is None else {"degree": degree}
    return Background(group.api.stream("/v1/prefill", {**message, **more}))


def first_and_done(events: list[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    if events[-1]["type"] == "error":
        raise ServingError("prefill", events[-1]["error"])
    return next(event["tokenId"] for event in events if event["type"] == "token"), events[-1]


def answered(request: Request, group: RankProcess, pool: RankProcess, degree: int) -> tuple[list[int], dict[str, Any]]:
    """All tokens, and how the prefill ended."""
    first, done = first_and_done(begin(request, group, pool, degree).finish(60))
    return [first, *request.decode(pool, first)[0]], done


def test_a_prompt_of_any_degree_has_the_same_tokens(wide: Group, decode: Group, oracle: Oracle) -> None:
    group, pool = wide.wait_serving(), decode.wait_serving()
    prompt = prompt_of(700, seed=41)
    expected = oracle.greedy(prompt, 6)
    for degree in (1, 2, 3, 4):
        tokens, done = answered(Request(prompt, 6), group, pool, degree)
        assert tokens == expected, degree
        assert (done["degree"], len(set(done["ranks"]))) == (degree, degree)


def test_prompts_that_wait_together_begin_side_by_side_on_other_ranks(
    wide: Group, decode: Group, oracle: Oracle
) -> None:
    group, pool = wide.wait_serving(), decode.wait_serving()
    asked = [(Request(prompt_of(150 + 40 * n, seed=50 + n), 5), degree) for n, degree in enumerate((1, 1, 2))]
    held = others(wide, group)[0]
    held.signal(signal.SIGSTOP)
    # The group stands still in its next heartbeat; what comes meanwhile is taken up in one tick.
    time.sleep(2.0)
    streams = [begin(request, group, pool, degree) for request, degree in asked]
    time.sleep(2.0)
    held.signal(signal.SIGCONT)
    ended = [first_and_done(stream.finish(60)) for stream in streams]
    assert [done["degree"] for _, done in ended] == [1, 1, 2]
    assert len({rank for _, done in ended for rank in done["ranks"]}) == 4
    for (request, _), (first, _) in zip(asked, ended, strict=True):
        assert [first, *request.decode(pool, first)[0]] == oracle.greedy(request.prompt, 5)


def test_many_prompts_of_all_lengths_and_degrees_are_right(wide: Group, decode: Group, oracle: Oracle) -> None:
    group, pool = wide.wait_serving(), decode.wait_serving()
    asked = [(Request(prompt_of(30 + 170 * n, seed=60 + n), 4), (0, 1, 4, 2, 3)[n % 5]) for n in range(9)]
    with ThreadPoolExecutor(9) as threads:
        ended = list(threads.map(lambda one: answered(one[0], group, pool, one[1]), asked))
    assert [tokens for tokens, _ in ended] == [oracle.greedy(request.prompt, 4) for request, _ in asked]
    assert all(done["degree"] <= (degree or 4) for (_, degree), (_, done) in zip(asked, ended, strict=True))


def test_a_failed_push_ends_its_own_prompt_alone(wide: Group, decode: Group, oracle: Oracle) -> None:
    group, pool = wide.wait_serving(), decode.wait_serving()
    lost, well = Request(prompt_of(300, seed=71), 4), Request(prompt_of(310, seed=72), 4)
    reservation = lost.reserve(pool)
    pool.api.post("/v1/cancel", {"requestId": lost.request_id})
    broken = Background(group.api.stream("/v1/prefill", {**lost.prefill_message(reservation), "degree": 2}))
    tokens, _ = answered(well, group, pool, 2)
    assert broken.finish(60)[-1]["error"]["code"] == "unknown_request"
    assert tokens == oracle.greedy(well.prompt, 4)


def test_a_killed_rank_ends_every_prompt_of_the_epoch_and_the_next_one_serves(
    wide: Group, decode: Group, oracle: Oracle
) -> None:
    group, pool = wide.wait_serving(), decode.wait_serving()
    victim = others(wide, group)[-1]
    victim.signal(signal.SIGSTOP)
    time.sleep(2.0)
    streams = [begin(Request(prompt_of(400, seed=80 + n), 4), group, pool, 2) for n in range(3)]
    time.sleep(2.0)
    victim.kill()
    survivors = others(wide, victim)
    wide.push_roster(survivors)
    codes = {stream.finish(60)[-1].get("error", {}).get("code", "done") for stream in streams}
    again = Request(prompt_of(400, seed=80), 4)
    assert answered(again, wide.wait_serving(survivors), pool, 3)[0] == oracle.greedy(again.prompt, 4)
    # Those that had not begun wait for the next epoch, if its coordinator is the same, and are served there.
    assert codes <= {"epoch_broken", "done"}
