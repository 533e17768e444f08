from __future__ import annotations

import signal

import pytest
from background import Background
from gateway_part import Request, ServingError
from rank_process import Group, others, pages_free, wait_for
from tiny_model import Oracle, prompt_of

NOTICED_SECONDS = 45.0
"""A killed rank shows at once, a stopped one after the time-out of a collective; then the next epoch forms. On a busy
machine all of that takes longer."""


@pytest.mark.parametrize("coordinates", [True, False], ids=["the coordinator", "another member"])
def test_a_prefill_group_goes_on_without_a_killed_rank(
    prefill: Group, decode: Group, oracle: Oracle, coordinates: bool
) -> None:
    coordinator, pool = prefill.wait_serving(), decode.wait_serving()
    victim = next(rank for rank in prefill.ranks if (rank is coordinator) == coordinates)
    victim.kill()
    survivors = others(prefill, victim)
    prefill.push_roster(survivors)
    coordinator = prefill.wait_serving(survivors, NOTICED_SECONDS)
    prompt = prompt_of(200, seed=3)
    assert Request(prompt, 8).run(coordinator, pool) == oracle.greedy(prompt, 8)


def test_a_prefill_broken_by_a_death_is_told_and_its_retry_fits_the_same_reservation(
    prefill: Group, decode: Group, oracle: Oracle
) -> None:
    coordinator, pool = prefill.wait_serving(), decode.wait_serving()
    victim = others(prefill, coordinator)[0]
    request = Request(prompt_of(1900, seed=4), 6)
    reservation = request.reserve(pool, lease_ms=600_000)
    victim.signal(signal.SIGSTOP)
    stream = Background(coordinator.api.stream("/v1/prefill", request.prefill_message(reservation)))
    events = stream.finish(NOTICED_SECONDS)
    assert events[-1]["error"]["code"] == "epoch_broken"
    victim.kill()
    survivors = others(prefill, victim)
    prefill.push_roster(survivors)
    first, _ = request.prefill(prefill.wait_serving(survivors), reservation)
    tokens, _ = request.decode(pool, first)
    assert [first, *tokens] == oracle.greedy(request.prompt, 6)


def test_a_killed_decode_rank_ends_only_what_had_pages_there(prefill: Group, decode: Group, oracle: Oracle) -> None:
    group, pool = prefill.wait_serving(), decode.wait_serving()
    wide, narrow = Request(prompt_of(900, seed=5), 400), Request(prompt_of(20, seed=6), 30)
    reservation = narrow.reserve(pool, lease_ms=600_000)
    narrow_first, _ = narrow.prefill(group, reservation)
    first, _ = wide.prefill(group, wide.reserve(pool))
    stream = Background(pool.api.stream("/v1/decode", wide.decode_message(first)))
    stream.wait_for_events(5)
    holders = {place["rankId"] for place in reservation["pages"]} | {pool.rank_id}
    victim = next(rank for rank in decode.ranks if rank.rank_id not in holders)
    victim.kill()
    survivors = others(decode, victim)
    decode.push_roster(survivors)
    events = stream.finish(NOTICED_SECONDS)
    assert events[-1]["error"]["code"] == "lost_pages"
    told = [event["tokenId"] for event in events[:-1]]
    assert told == oracle.greedy(wide.prompt, len(told) + 1)[1:]
    pool = decode.wait_serving(survivors)
    again = Request([*wide.prompt, first, *told], 5).run(group, pool)
    assert again == oracle.greedy([*wide.prompt, first, *told], 5)
    assert [narrow_first, *narrow.decode(pool, narrow_first)[0]] == oracle.greedy(narrow.prompt, 30)


def test_running_requests_go_on_when_a_rank_joins(prefill: Group, decode: Group, oracle: Oracle) -> None:
    late = decode.ranks[2]
    late.kill()
    decode.push_roster(decode.ranks[:2])
    group, pool = prefill.wait_serving(), decode.wait_serving(decode.ranks[:2], NOTICED_SECONDS)
    late.restart()
    decode.wait_loaded()
    request = Request(prompt_of(300, seed=7), 400)
    first, _ = request.prefill(group, request.reserve(pool))
    stream = Background(pool.api.stream("/v1/decode", request.decode_message(first)))
    stream.wait_for_events(5)
    decode.push_roster()
    decode.wait_serving()
    told = len(stream.events)
    events = stream.finish(600)
    assert events[-1]["reason"] == "length"
    tokens = [first, *(event["tokenId"] for event in events[:-1])]
    assert told < len(tokens) == 400
    assert tokens[:40] == oracle.greedy(request.prompt, 40)


@pytest.mark.parametrize("coordinates", [True, False], ids=["the coordinator", "another member"])
def test_a_stopped_decode_rank_is_left_out_and_comes_back(
    prefill: Group, decode: Group, oracle: Oracle, coordinates: bool
) -> None:
    group, coordinator = prefill.wait_serving(), decode.wait_serving()
    victim = next(rank for rank in decode.ranks if (rank is coordinator) == coordinates)
    survivors = others(decode, victim)
    victim.signal(signal.SIGSTOP)
    pool = decode.wait_serving(survivors, 2 * NOTICED_SECONDS)
    prompt = prompt_of(150, seed=8)
    assert Request(prompt, 6).run(group, pool) == oracle.greedy(prompt, 6)
    victim.signal(signal.SIGCONT)
    pool = decode.wait_serving(seconds=2 * NOTICED_SECONDS)
    assert Request(prompt, 6).run(group, pool) == oracle.greedy(prompt, 6)
    assert all(free == total for free, total in pages_free(decode))


def test_a_pool_without_most_of_its_roster_stops_serving_and_says_why(decode: Group) -> None:
    decode.wait_serving()
    alone = decode.ranks[0]
    for rank in decode.ranks[1:]:
        rank.kill()
    wait_for(lambda: alone.state()["phase"] == "forming" and "are needed" in alone.state()["reason"], alone, 60)
    with pytest.raises(ServingError) as refused:
        Request(prompt_of(10, seed=9), 4).reserve(alone)
    assert refused.value.code == "not_ready"
    decode.push_roster([alone])
    assert decode.wait_serving([alone]) is alone
