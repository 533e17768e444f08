from __future__ import annotations

import signal

import pytest
from background import Background
from gateway_part import Request, ServingError
from rank_process import Group, others, wait_for
from slow_link import SlowLink
from tiny_model import Oracle, prompt_of


@pytest.mark.parametrize("coordinates", [False, True], ids=["a member", "the coordinator"])
def test_a_rank_that_is_stopped_under_load_hands_on_its_pages_and_no_answer_ends(
    prefill: Group, decode: Group, oracle: Oracle, coordinates: bool
) -> None:
    group, coordinator = prefill.wait_serving(), decode.wait_serving()
    leaver = next(rank for rank in decode.ranks if (rank is coordinator) == coordinates)
    requests = [Request(prompt_of(150 + 200 * i, seed=20 + i), 1600) for i in range(2)]
    firsts = [one.prefill(group, one.reserve(coordinator))[0] for one in requests]
    streams = [
        Background(coordinator.api.stream("/v1/decode", one.decode_message(first)))
        for one, first in zip(requests, firsts, strict=True)
    ]
    for stream in streams:
        stream.wait_for_events(5)
    assert leaver.state()["heldPages"] > 0
    leaver.signal(signal.SIGTERM)
    survivors = others(decode, leaver)
    pool = decode.wait_serving(survivors, 60)
    for one, first, stream in zip(requests, firsts, streams, strict=True):
        told = len(stream.tokens)
        stream.wait_for_events(told + 20)
        assert [first, *stream.tokens][: told + 20] == oracle.greedy(one.prompt, told + 20)
        pool.api.post("/v1/cancel", {"requestId": one.request_id})
        assert stream.finish(60)[-1]["reason"] == "cancelled"
    assert leaver.process.wait(60) == 0
    assert Request(requests[0].prompt, 5).run(group, pool) == oracle.greedy(requests[0].prompt, 5)
    wait_for(lambda: all(rank.state()["heldPages"] == 0 for rank in survivors), pool, 60)


def test_a_member_that_drains_says_so_and_takes_nothing_new(prefill: Group, decode: Group, oracle: Oracle) -> None:
    group, coordinator = prefill.wait_serving(), decode.wait_serving()
    leaver = others(decode, coordinator)[0]
    request = Request(prompt_of(300, seed=11), 40)
    first, _ = request.prefill(group, request.reserve(coordinator))
    assert leaver.api.post("/v1/drain", {}).body["phase"] == "draining"
    survivors = others(decode, leaver)
    assert [first, *request.decode(coordinator, first)[0]] == oracle.greedy(request.prompt, 40)
    pool = decode.wait_serving(survivors)
    assert pool is coordinator
    assert pool.state()["lastBreak"] == f"{leaver.rank_id} has drained"
    wait_for(lambda: leaver.state()["phase"] == "drained", leaver, 60)
    later = Request(prompt_of(300, seed=12), 40)
    assert leaver.rank_id not in {place["rankId"] for place in later.reserve(pool)["pages"]}
    pool.api.post("/v1/cancel", {"requestId": later.request_id})
    leaver.signal(signal.SIGTERM)
    assert leaver.process.wait(60) == 0


def test_a_cancelled_prefill_stops_between_two_layers(prefill: Group, decode: Group) -> None:
    group, pool = prefill.wait_serving(), decode.wait_serving()
    request = Request(prompt_of(2000, seed=13), 10)
    reservation = request.reserve(pool)
    with SlowLink(reservation["holders"][0]["transferPort"], 600) as link:
        stream = Background(group.api.stream("/v1/prefill", request.prefill_message(link.before(reservation))))
        stream.wait_for_events(1)
        group.api.post("/v1/cancel", {"requestId": request.request_id})
        events = stream.finish(60)
    assert (events[-1]["error"]["code"], events[-1]["error"]["message"]) == (
        "unknown_request",
        "the prefill was cancelled",
    )
    pool.api.post("/v1/cancel", {"requestId": request.request_id})
    assert Request(request.prompt[:70], 4).run(group, pool)


def test_requests_wait_in_line_for_pages_and_are_refused_with_numbers_in_time(decode: Group) -> None:
    pool = decode.wait_serving()
    big = [Request(prompt_of(1900, seed=i), 148) for i in range(9)]
    for one in big:
        one.reserve(pool, lease_ms=8_000)
    late = pool.api.post(
        "/v1/reserve",
        {"requestId": "late", "promptTokens": 300, "maxNewTokens": 20, "leaseMs": 500, "waitMs": 200},
    )
    assert (late.status, late.body["missingPages"], late.body["freePages"]) == (429, 5, 0)
    assert "in line" in late.body["message"]
    with pytest.raises(ServingError):
        Request(prompt_of(300, seed=1), 20).reserve(pool)
    waited = pool.api.post(
        "/v1/reserve",
        {"requestId": "waits", "promptTokens": 300, "maxNewTokens": 20, "leaseMs": 500, "waitMs": 50_000},
    )
    assert waited.status == 200
