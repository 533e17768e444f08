from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from background import Background
from gateway_part import Request, ServingError
from rank_process import Group, RankProcess, others, wait_for
from slow_link import SlowLink
from test_moves import PAGE_BYTES, Live, ended, facts_of, inventory, order
from tiny_model import Oracle, prompt_of


@pytest.fixture
def beginning(request: pytest.FixtureRequest) -> list[int]:
    """Ten pages that no other test begins with."""
    return prompt_of(640, seed=sum(request.node.name.encode()))


def asked(beginning: Sequence[int], end: int, count: int = 30, tail: int = 40) -> Request:
    return Request([*beginning, *prompt_of(tail, seed=1000 + end)], count, shares=True)


def begin(group: RankProcess, pool: RankProcess, request: Request) -> Live:
    first, _ = request.prefill(group, request.reserve(pool))
    stream = Background(pool.api.stream("/v1/decode", request.decode_message(first)))
    stream.wait_for_events(3)
    return Live(request, first, stream)


def goes_on(live: Live, oracle: Oracle, count: int = 30) -> None:
    told = len(live.stream.tokens)
    live.stream.wait_for_events(told + count)
    assert live.tokens[: told + count] == oracle.greedy(live.request.prompt, told + count)


def counted(pool: RankProcess, metric: str) -> float:
    found = re.search(rf"^{metric} (\S+)$", pool.api.get("/metrics").body, re.MULTILINE)
    assert found is not None, metric
    return float(found[1])


def places(reservation: dict[str, Any]) -> list[tuple[str, int]]:
    return [(page["rankId"], page["slot"]) for page in reservation["pages"]]


def cancel(pool: RankProcess, *live: Live) -> None:
    for one in live:
        pool.api.post("/v1/cancel", {"requestId": one.request.request_id})


def test_a_prompt_that_begins_like_an_earlier_one_shares_its_pages_and_says_the_same(
    prefill: Group, decode: Group, oracle: Oracle, beginning: list[int]
) -> None:
    group, pool = prefill.wait_serving(), decode.wait_serving()
    first = asked(beginning, 1)
    reservation = first.reserve(pool)
    token, done = first.prefill(group, reservation)
    assert first.decode(pool, token)[0] == oracle.greedy(first.prompt, 30)[1:]
    assert "reusedTokens" not in done
    hits, queries = counted(pool, "csps_prefix_cache_hits_total"), counted(pool, "csps_prefix_cache_queries_total")
    second = asked(beginning, 2)
    again = second.reserve(pool)
    assert again["sharedPages"] == 10
    assert places(again)[:10] == places(reservation)[:10]
    read = sum(counted(rank, "csps_kv_read_bytes_total") for rank in decode.ranks)
    token, less = second.prefill(group, again)
    assert less["reusedTokens"] == 640
    beginning_bytes = 10 * PAGE_BYTES * less["degree"]
    assert sum(counted(rank, "csps_kv_read_bytes_total") for rank in decode.ranks) - read == beginning_bytes
    assert less["kvBytesPushed"] * 17 == done["kvBytesPushed"]
    assert [token, *second.decode(pool, token)[0]] == oracle.greedy(second.prompt, 30)
    assert counted(pool, "csps_prefix_cache_hits_total") - hits == 640
    assert counted(pool, "csps_prefix_cache_queries_total") - queries == 680
    assert sum(rank["keyedPages"] for rank in inventory(pool)["ranks"]) == counted(pool, "csps_prefix_cache_pages")
    assert all(rank["pagesFree"] == rank["pagesTotal"] for rank in inventory(pool)["ranks"])


def test_a_salted_prompt_shares_pages_with_those_of_its_salt_alone(
    prefill: Group, decode: Group, oracle: Oracle, beginning: list[int]
) -> None:
    group, pool = prefill.wait_serving(), decode.wait_serving()
    tried = [(None, 0), ("one", 0), ("other", 0), ("one", 640), ("other", 640), (None, 640)]
    for end, (salt, reused) in enumerate(tried):
        request = replace(asked(beginning, end, count=3), salt=salt)
        token, done = request.prefill(group, request.reserve(pool))
        assert done.get("reusedTokens", 0) == reused, (salt, end)
        assert [token, *request.decode(pool, token)[0]] == oracle.greedy(request.prompt, 3)


def test_a_group_refuses_keys_of_another_salt_than_it_is_told(
    prefill: Group, decode: Group, beginning: list[int]
) -> None:
    group, pool = prefill.wait_serving(), decode.wait_serving()
    request = replace(asked(beginning, 0), salt="one")
    reservation = request.reserve(pool)
    for told in ({}, {"cacheSalt": "other"}):
        message = replace(request, salt=None).prefill_message(reservation)
        answer = group.api.post("/v1/prefill", {**message, **told})
        assert (answer.status, answer.body["code"]) == (400, "bad_request")
    pool.api.post("/v1/cancel", {"requestId": request.request_id})


def test_a_beginning_that_comes_slowly_keeps_no_other_prompt_waiting(
    prefill: Group, decode: Group, oracle: Oracle, beginning: list[int]
) -> None:
    group, pool = prefill.wait_serving(), decode.wait_serving()
    asked(beginning, 0).run(group, pool)
    slowed = asked(beginning, 1, count=2)
    reservation = slowed.reserve(pool, lease_ms=120_000)
    with SlowLink(reservation["holders"][0]["transferPort"]) as link:
        # To the prefill ranks alone: pages that they push go the same way, in the other direction.
        message = slowed.prefill_message(link.before(reservation))
        stream = Background(group.api.stream("/v1/prefill", message))
        wait_for(lambda: group.state()["running"] == 1, group, 60)
        for seed in (71, 72):
            other = Request(prompt_of(300, seed=seed), 3)
            assert other.run(group, pool) == oracle.greedy(other.prompt, 3)
        assert not [event for event in stream.events if event["type"] != "progress"]
        link.let_go()
        events = stream.finish(60)
    assert events[-1]["reusedTokens"] == 640
    assert [e["tokenId"] for e in events if e["type"] == "token"] == oracle.greedy(slowed.prompt, 1)
    pool.api.post("/v1/cancel", {"requestId": slowed.request_id})


def test_requests_that_share_pages_decode_side_by_side(
    prefill: Group, decode: Group, oracle: Oracle, beginning: list[int]
) -> None:
    group, pool = prefill.wait_serving(), decode.wait_serving()
    asked(beginning, 0).run(group, pool)
    requests = [asked(beginning, end, tail=20 + 30 * end) for end in range(1, 6)]
    with ThreadPoolExecutor(5) as threads:
        answers = list(threads.map(lambda request: request.run(group, pool), requests))
    assert answers == [oracle.greedy(request.prompt, 30) for request in requests]


def test_a_shared_page_that_moves_changes_no_token_of_those_that_share_it(
    prefill: Group, decode: Group, oracle: Oracle, beginning: list[int]
) -> None:
    group, pool = prefill.wait_serving(), decode.wait_serving()
    one, two = (begin(group, pool, asked(beginning, end, count=1300)) for end in (1, 2))
    for source, target in ((decode.ranks[1], decode.ranks[2]), (decode.ranks[0], decode.ranks[1])):
        move = order(one, pool, source, target)
        pool.api.post("/v1/move", move)
        assert ended(pool, move["moveId"])["phase"] == "committed"
        assert facts_of(two, pool)["mapVersion"] == facts_of(one, pool)["mapVersion"]
    shared = [facts_of(live, pool)["shards"][0] for live in (one, two)]
    assert shared[0]["rankId"] == shared[1]["rankId"]
    for live in (one, two):
        goes_on(live, oracle)
    cancel(pool, one)
    third = begin(group, pool, asked(beginning, 3, count=1300))
    for live in (two, third):
        goes_on(live, oracle)
    cancel(pool, two, third)


@pytest.mark.parametrize("coordinates", [False, True], ids=["a member", "the coordinator"])
def test_a_rank_that_leaves_hands_on_shared_pages_once_and_the_cache_goes_on(
    prefill: Group, decode: Group, oracle: Oracle, beginning: list[int], coordinates: bool
) -> None:
    group, coordinator = prefill.wait_serving(), decode.wait_serving()
    leaver = next(rank for rank in decode.ranks if (rank is coordinator) == coordinates)
    live = [begin(group, coordinator, asked(beginning, end, count=1300)) for end in range(3)]
    assert leaver.state()["heldPages"] > 0
    leaver.signal(signal.SIGTERM)
    survivors = others(decode, leaver)
    pool = decode.wait_serving(survivors, 60)
    for one in live:
        goes_on(one, oracle, 20)
    late = asked(beginning, 7)
    reservation = late.reserve(pool)
    assert reservation["sharedPages"] == 10
    token, _ = late.prefill(group, reservation)
    assert [token, *late.decode(pool, token)[0]] == oracle.greedy(late.prompt, 30)
    cancel(pool, *live)
    # Until then it may have streams to pass on.
    assert leaver.process.wait(60) == 0
    wait_for(lambda: all(rank.state()["heldPages"] == 0 for rank in survivors), pool, 60)


def test_a_rank_that_dies_takes_all_who_share_its_pages_and_nobody_is_answered_from_what_is_left(
    prefill: Group, decode: Group, oracle: Oracle, beginning: list[int]
) -> None:
    group, pool = prefill.wait_serving(), decode.wait_serving()
    live = [begin(group, pool, asked(beginning, end, count=1300)) for end in (1, 2)]
    gone = next(
        r for r in others(decode, pool) if any(s["rankId"] == r.rank_id for s in facts_of(live[0], pool)["shards"])
    )
    gone.kill()
    survivors = others(decode, gone)
    decode.push_roster(survivors)
    decode.wait_serving(survivors, 60)
    for one in live:
        assert one.stream.finish(60)[-1]["error"]["code"] == "lost_pages"
    later = asked(beginning, 3)
    reservation = later.reserve(pool)
    assert reservation.get("sharedPages", 0) < 10
    token, _ = later.prefill(group, reservation)
    assert [token, *later.decode(pool, token)[0]] == oracle.greedy(later.prompt, 30)
    wait_for(lambda: all(r["pagesFree"] == r["pagesTotal"] for r in inventory(pool)["ranks"]), pool, 60)


def test_keys_that_are_not_those_of_the_prompt_are_refused(prefill: Group, decode: Group, beginning: list[int]) -> None:
    group, pool = prefill.wait_serving(), decode.wait_serving()
    request = asked(beginning, 1)
    reservation = request.reserve(pool)
    other = Request([*beginning[:600], *prompt_of(80, seed=5)], 30, request.request_id)
    with pytest.raises(ServingError) as refused:
        other.prefill(group, reservation)
    assert refused.value.code == "bad_request"
    pool.api.post("/v1/cancel", {"requestId": request.request_id})
    many = {"requestId": "many", "promptTokens": 64, "maxNewTokens": 1, "leaseMs": 500, "pageKeys": ["0" * 32] * 2}
    assert pool.api.post("/v1/reserve", many).body["code"] == "bad_request"
