"""Ranks that are two processes each: they serve, move pages and end as ranks of one process do."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from background import Background
from gateway_part import Request, ServingError
from rank_process import Group, Place, RankProcess, others, pages_free, wait_for
from test_moves import Live, begin, facts_of, inventory, move_all
from tiny_model import Oracle, prompt_of

DEGREE = 2
TOKEN_BYTES = 3 * 2 * 2 * 8 * 4
"""KV of a token: 3 layers, K and V of 2 heads of 8 floats."""
NOTICED_SECONDS = 60.0
"""A killed process shows at once, a stopped one after the silence of a collective's time-out."""


def divided(place: Place, degree: int) -> Place:
    """Ranks of so many processes."""
    more = {"CSPS_TENSOR_PARALLEL": str(degree)}
    return replace(place, settings={**place.settings, **more})


@pytest.fixture(scope="module")
def both(place: Place) -> Iterator[tuple[Group, Group]]:
    """A prefill group, which may leave keys out of long prompts, and a pool of two ranks each."""
    two = divided(place, DEGREE)
    sparse = {"CSPS_SPARSE_ATTENTION": "enabled", "CSPS_SPARSE_MIN_TOKENS": "1024"}
    groups = (
        Group(replace(two, settings={**two.settings, **sparse}), "cut-prefill-0", "prefill", 2),
        Group(two, "cut-decode", "decode", 2),
    )
    try:
        for group in groups:
            group.wait_loaded()
            group.push_roster()
            group.wait_serving()
        yield groups
    finally:
        for group in groups:
            group.close()


@pytest.fixture
def cut_prefill(both: tuple[Group, Group]) -> Group:
    both[0].restore()
    return both[0]


@pytest.fixture
def cut_decode(both: tuple[Group, Group]) -> Group:
    both[1].restore()
    return both[1]


def gone(pid: int) -> bool:
    """Ended, or a zombie that its parent has yet to take note of."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def prefill_by_two(group: RankProcess, request: Request, pool: RankProcess, **more: str) -> tuple[int, dict[str, Any]]:
    message = {**request.prefill_message(request.reserve(pool)), "degree": 2, **more}
    *_, token, done = group.api.stream("/v1/prefill", message)
    return int(token["tokenId"]), done


def test_ranks_of_several_processes_say_what_one_process_says(
    cut_prefill: Group, cut_decode: Group, oracle: Oracle
) -> None:
    group, pool = cut_prefill.wait_serving(), cut_decode.wait_serving()
    assert [len(rank.followers()) for rank in (group, pool)] == [DEGREE - 1] * 2
    assert group.state()["kvFormat"] == pool.state()["kvFormat"]
    assert pool.state()["kvFormat"].endswith("-tp2")
    for length in (5, 64, 331):
        request = Request(prompt_of(length, seed=length), 12)
        first, done = prefill_by_two(group, request, pool)
        assert (done["degree"], done["kvBytesPushed"]) == (2, length * TOKEN_BYTES)
        assert [first, *request.decode(pool, first)[0]] == oracle.greedy(request.prompt, 12)
    wait_for(lambda: all(free == total for free, total in pages_free(cut_decode)), pool, 60)


@pytest.mark.parametrize("attention", ["sparse", "dense"])
def test_each_process_leaves_out_what_its_own_heads_do_not_need(
    cut_prefill: Group, cut_decode: Group, oracle: Oracle, attention: str
) -> None:
    group, pool = cut_prefill.wait_serving(), cut_decode.wait_serving()
    request = Request(prompt_of(1900, seed=41), 8)
    first, done = prefill_by_two(group, request, pool, attention=attention)
    assert done["kvBytesPushed"] == 1900 * TOKEN_BYTES
    if attention == "sparse":
        assert 0 < done["sparse"]["fetchedBytes"] < done["sparse"]["availableBytes"]
        assert done["sparse"]["massMean"] > 0.9
        assert len(request.decode(pool, first)[0]) == 7
    else:
        assert "sparse" not in done
        assert [first, *request.decode(pool, first)[0]] == oracle.greedy(request.prompt, 8)


def test_a_move_in_mid_stream_takes_the_pages_of_every_process_along(
    cut_prefill: Group, cut_decode: Group, oracle: Oracle
) -> None:
    pool = cut_decode.wait_serving()
    [other] = others(cut_decode, pool)
    assert inventory(pool)["pageBytes"] == 64 * TOKEN_BYTES
    live: Live = begin(cut_prefill, pool, prompt=400, count=900)
    held = {shard["rankId"] for shard in facts_of(live, pool)["shards"]}
    source, target = (pool, other) if pool.rank_id in held else (other, pool)
    move_all(live, pool, source, target, takes_home=True)
    facts = facts_of(live, pool)
    assert ({shard["rankId"] for shard in facts["shards"]}, facts["home"]) == ({target.rank_id}, target.rank_id)
    moved = len(live.stream.tokens)
    live.stream.wait_for_events(moved + 30)
    assert live.tokens[: moved + 30] == oracle.greedy(live.request.prompt, moved + 30)
    pool.api.post("/v1/cancel", {"requestId": live.request.request_id})


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_rank_ends_with_any_of_its_processes_and_its_peers_go_on(
    cut_prefill: Group, cut_decode: Group, oracle: Oracle, how: signal.Signals
) -> None:
    group, pool = cut_prefill.wait_serving(), cut_decode.wait_serving()
    victim = others(cut_decode, pool)[0]
    [follower] = victim.followers()
    request = Request(prompt_of(30, seed=3), 1200)
    first, _ = request.prefill(group, request.reserve(pool))
    stream = Background(pool.api.stream("/v1/decode", request.decode_message(first)))
    stream.wait_for_events(3)
    os.kill(follower, how)
    assert victim.process.wait(NOTICED_SECONDS) == 3
    wait_for(lambda: gone(follower), pool, 60)
    assert "process 1 of this rank" in victim.log.read_text()
    survivors = others(cut_decode, victim)
    cut_decode.push_roster(survivors)
    cut_decode.wait_serving(survivors, 2 * NOTICED_SECONDS)
    prompt = prompt_of(150, seed=4)
    assert Request(prompt, 6).run(group, pool) == oracle.greedy(prompt, 6)
    pool.api.post("/v1/cancel", {"requestId": request.request_id})


def test_a_rank_that_is_asked_to_stop_hands_on_what_it_has_and_takes_its_processes_along(
    cut_prefill: Group, cut_decode: Group
) -> None:
    cut_decode.wait_serving()
    leaving = cut_prefill.ranks[1]
    [follower] = leaving.followers()
    leaving.signal(signal.SIGTERM)
    cut_prefill.push_roster(others(cut_prefill, leaving))
    assert leaving.process.wait(60) == 0
    assert gone(follower)


def failed(rank: RankProcess) -> str:
    """Why a rank never got ready."""
    wait_for(lambda: rank.state()["phase"] == "failed", rank, 120)
    return str(rank.state()["reason"])


def test_a_model_that_cannot_be_cut_so_is_refused_in_one_sentence(place: Place) -> None:
    rank = RankProcess(divided(place, 3), "cut-thrice", "decode", 0)
    try:
        assert failed(rank) == (
            "the model could not be loaded: tensor parallelism 3: it must divide the 2 KV heads or be a multiple"
        )
        assert rank.api.get("/healthz").status == 503
    finally:
        rank.close()


def test_a_group_takes_no_prompt_for_a_pool_of_another_degree(cut_prefill: Group, decode: Group) -> None:
    request = Request(prompt_of(40, seed=5), 4)
    reservation = request.reserve(decode.wait_serving())
    with pytest.raises(ServingError, match="-tp2") as refused:
        request.prefill(cut_prefill.wait_serving(), reservation)
    assert refused.value.code == "bad_request"
