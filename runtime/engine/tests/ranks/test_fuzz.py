"""The control API under messages that nobody should send: one clear Failure each, and the rank goes on."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from gateway_part import GREEDY, Request
from hypothesis import given, settings
from json_damage import damaged
from rank_api import Answer
from rank_process import TOKEN, Group, RankProcess, pages_free, wait_for
from tiny_model import Oracle, prompt_of

from csps_engine.refusal import STATUS

RANK = {"rankId": "x-0", "incarnation": "x", "address": "127.0.0.1", "controlPort": 1, "transferPort": 1}
EPOCH = {"fence": 0, "generation": 1, "members": [RANK]}
RESERVATION = {
    "requestId": "fuzz",
    "epoch": 1,
    "homeRank": "x-0",
    "holders": [RANK],
    "pages": [{"page": 0, "rankId": "x-0", "slot": 0}],
    "pageTokens": 64,
    "kvFormat": "none such",
}
FIRST = {"requestId": "fuzz", "promptTokens": 5, "maxNewTokens": 5}
MESSAGES: dict[str, dict[str, Any]] = {
    "/v1/reserve": {**FIRST, "leaseMs": 1000},
    "/v1/decode": {**FIRST, "firstToken": 3, "stopTokenIds": [1], "sampling": GREEDY},
    "/v1/cancel": {"requestId": "fuzz"},
    "/v1/roster": {"group": "x", "role": "decode", "minSize": 1, **EPOCH},
    "/v1/epoch": {"group": "x", "epoch": 1, "coordinator": RANK, "storeHost": "127.0.0.1", "storePort": 1, **EPOCH},
}
"""Well-formed, and about nothing that the ranks know: whatever of it is accepted changes nothing."""
PREFILL = {"requestId": "fuzz", "tokenIds": [3, 4, 5], "sampling": GREEDY, "reservation": RESERVATION}


def check(answer: Answer) -> None:
    """Accepted, or refused in the one form with the status of its code."""
    if answer.status == 200:
        return
    assert answer.body["code"] != "internal", answer
    assert answer.status == STATUS[answer.body["code"]], answer
    assert answer.body["message"], answer


def bombard(rank: RankProcess, path: str, message: dict[str, Any]) -> None:
    @settings(max_examples=60, database=None)
    @given(body=damaged(message))
    def one(body: bytes) -> None:
        answer = rank.api.post(path, body)
        check(answer)
        if path == "/v1/reserve" and answer.status == 200:
            check(rank.api.post("/v1/cancel", {"requestId": answer.body["requestId"]}))

    one()


@pytest.mark.parametrize("path", sorted(MESSAGES))
def test_a_pool_refuses_damaged_messages_by_one_failure_each(path: str, decode: Group) -> None:
    bombard(decode.wait_serving(), path, MESSAGES[path])
    pool = decode.wait_serving()
    wait_for(lambda: all(free == total for free, total in pages_free(decode)), pool, 60)


def test_a_prefill_group_refuses_damaged_messages_and_still_serves(
    prefill: Group, decode: Group, oracle: Oracle
) -> None:
    group = prefill.wait_serving()
    bombard(group, "/v1/prefill", {**PREFILL, "deadlineMs": 1000})
    prompt = prompt_of(70, seed=5)
    assert Request(prompt, 4).run(group, decode.wait_serving()) == oracle.greedy(prompt, 4)


def test_requests_that_are_hardly_http_end_without_harm(decode: Group) -> None:
    pool = decode.wait_serving()
    head = f"POST /v1/reserve HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    for raw in (
        b"\x00\xff\x16\x03\x01",
        b"GET / HTTP/9.9\r\n\r\n",
        f"{head}Content-Length: 500\r\n\r\n{{".encode(),
        f"{head}Content-Length: -1\r\n\r\n".encode(),
        f"{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n".encode(),
        f"{head}X: {'y' * 100_000}\r\n\r\n".encode(),
    ):
        with socket.create_connection(("127.0.0.1", pool.control_port), timeout=10) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(4096)
            assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer
    assert pool.api.get("/v1/state").status == 200
