"""A client that has left costs nothing more, wherever the word of it arrives."""

from __future__ import annotations

import signal
import time
from collections.abc import Generator
from typing import Any

import pytest
from background import Background
from gateway_part import Request
from rank_process import Group, RankProcess, others, pages_free, wait_for
from slow_link import SlowLink
from tiny_model import prompt_of


def cancel(rank: RankProcess, request: Request) -> None:
    assert rank.api.post("/v1/cancel", {"requestId": request.request_id}).status == 200


def decoding(prefill: Group, pool: RankProcess, seed: int) -> tuple[Request, Generator[dict[str, Any]]]:
    """One whose answer has begun."""
    request = Request(prompt_of(150, seed=seed), 1800)
    first, _ = request.prefill(prefill.wait_serving(), request.reserve(pool))
    stream = pool.api.stream("/v1/decode", request.decode_message(first))
    assert next(stream)["type"] == "token"
    return request, stream


def test_a_cancel_that_reaches_a_member_of_the_pool_ends_the_answer(prefill: Group, decode: Group) -> None:
    pool = decode.wait_serving()
    request, stream = decoding(prefill, pool, seed=61)
    cancel(others(decode, pool)[0], request)
    assert list(stream)[-1]["reason"] == "cancelled"
    wait_for(lambda: all(free == total for free, total in pages_free(decode)), pool, 60)


def test_a_cancel_that_reaches_a_member_of_the_pool_frees_a_reservation(decode: Group) -> None:
    pool = decode.wait_serving()
    request = Request(prompt_of(300, seed=62), 20)
    request.reserve(pool, lease_ms=600_000)
    cancel(others(decode, pool)[-1], request)
    wait_for(lambda: all(free == total for free, total in pages_free(decode)), pool, 60)


def test_a_cancel_that_reaches_a_member_of_the_group_stops_the_prompt(prefill: Group, decode: Group) -> None:
    group, pool = prefill.wait_serving(), decode.wait_serving()
    request = Request(prompt_of(2000, seed=63), 10)
    reservation = request.reserve(pool)
    with SlowLink(reservation["holders"][0]["transferPort"], 600) as link:
        stream = Background(group.api.stream("/v1/prefill", request.prefill_message(link.before(reservation))))
        stream.wait_for_events(1)
        cancel(others(prefill, group)[0], request)
        assert stream.finish(60)[-1]["error"]["message"] == "the prefill was cancelled"
    cancel(pool, request)


def test_a_rank_that_does_not_coordinate_refuses_a_cancel_that_was_passed_on(decode: Group) -> None:
    pool = decode.wait_serving()
    answer = others(decode, pool)[0].api.post("/v1/cancel", {"requestId": "r", "passedOn": True})
    assert (answer.status, answer.body["coordinator"]["rankId"]) == (409, pool.rank_id)
    assert pool.api.post("/v1/cancel", {"requestId": "r", "passedOn": True}).status == 200


@pytest.mark.parametrize("how", ["the leaver", "a survivor", "a dropped connection"])
def test_a_client_that_leaves_while_the_coordinator_does_costs_nothing_more(
    prefill: Group, decode: Group, how: str
) -> None:
    leaver = decode.wait_serving()
    request, stream = decoding(prefill, leaver, seed=64)
    survivors = others(decode, leaver)
    leaver.signal(signal.SIGTERM)
    # Some time before, in or after the hand-over.
    time.sleep({"the leaver": 0.3, "a survivor": 0.5, "a dropped connection": 0.4}[how])
    if how == "a dropped connection":
        stream.close()
    else:
        cancel(leaver if how == "the leaver" else survivors[-1], request)
        assert list(stream)[-1]["type"] in ("done", "error")
    pool = decode.wait_serving(survivors, 60)
    wait_for(lambda: all(rank.state()["heldPages"] == 0 for rank in survivors), pool, 60)
    assert pool.state()["running"] == 0
    assert leaver.process.wait(60) == 0
