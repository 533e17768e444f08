"""A request id that is used again: while what was asked under it is under way, or for another attempt after that."""

from __future__ import annotations

import itertools
import time

import pytest
from background import Background
from gateway_part import Request, ServingError
from rank_process import Group, RankProcess, pages_free, wait_for
from tiny_model import Oracle, prompt_of


def all_free(decode: Group) -> bool:
    return all(free == total for free, total in pages_free(decode))


def test_a_reservation_that_waits_is_answered_although_it_is_asked_for_again(decode: Group) -> None:
    pool = decode.wait_serving()
    held = [Request(prompt_of(1900, seed=number), 148) for number in range(9)]
    for one in held:
        one.reserve(pool, lease_ms=600_000)
    message = {"requestId": "r", "promptTokens": 300, "maxNewTokens": 20, "leaseMs": 600_000}
    waiting = ({"answer": pool.api.post("/v1/reserve", {**message, "waitMs": 50_000})} for _ in range(1))
    first = Background(waiting)
    wait_for(lambda: pool.state()["waiting"] == len(held) + 1, pool, 60)
    assert pool.api.post("/v1/reserve", {**message, "waitMs": 100}).status == 429
    pool.api.post("/v1/cancel", {"requestId": held[0].request_id})
    (answered,) = first.finish(60)
    assert answered["answer"].status == 200
    assert pool.api.post("/v1/reserve", message) == answered["answer"]
    for request_id in ("r", *(one.request_id for one in held)):
        pool.api.post("/v1/cancel", {"requestId": request_id})
    wait_for(lambda: all_free(decode), pool, 60)


def decode_when_cancelled(request: Request, pool: RankProcess, first: int) -> str:
    """Why the request, whose stream broke, is not decoded on."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            request.decode(pool, first)
        except ServingError as refused:
            if refused.code != "not_ready":
                return refused.code
    raise AssertionError("it is being cancelled for a minute")


@pytest.mark.parametrize("how", ["its stream broke", "it was cancelled", "it ended"])
def test_another_attempt_under_the_same_id_gets_an_answer_of_its_own(
    prefill: Group, decode: Group, oracle: Oracle, how: str
) -> None:
    group, pool = prefill.wait_serving(), decode.wait_serving()
    count = 6 if how == "it ended" else 1800
    request = Request(prompt_of(150, seed=71), count, request_id=f"again {how}")
    first, _ = request.prefill(group, request.reserve(pool))
    stream = pool.api.stream("/v1/decode", request.decode_message(first))
    begun = list(itertools.islice(stream, 2))
    assert [event["type"] for event in begun] == ["token", "token"]
    if how == "its stream broke":
        stream.close()
        assert decode_when_cancelled(request, pool, first) == "unknown_request"
    elif how == "it was cancelled":
        pool.api.post("/v1/cancel", {"requestId": request.request_id})
        assert list(stream)[-1]["reason"] == "cancelled"
    else:
        assert list(stream)[-1]["reason"] == "length"
    wait_for(lambda: all_free(decode), pool, 60)

    assert request.prefill(group, request.reserve(pool, lease_ms=600_000))[0] == first
    again = pool.api.stream("/v1/decode", request.decode_message(first))
    tokens = [event["tokenId"] for event in itertools.islice(again, 5)]
    assert [first, *tokens] == oracle.greedy(request.prompt, 6)
    again.close()
    # What the attempt reserved was its own to decode, and is free when it has ended.
    wait_for(lambda: all_free(decode), pool, 60)
