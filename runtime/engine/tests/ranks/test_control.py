from __future__ import annotations

import json
import socket
import struct
import time

import pytest
from gateway_part import GREEDY, Request, ServingError
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from rank_api import RankApi
from rank_process import TOKEN, Group, RankProcess, pages_free, wait_for
from tiny_model import CONTEXT, Oracle, prompt_of

from csps_engine.wire import engine_metrics as metrics

PAGES = 96

SAID_IN_STATE = {
    metrics.PAGES: "pagesTotal",
    metrics.PAGES_FREE: "pagesFree",
    metrics.PAGES_HELD: "heldPages",
    metrics.PAGE_TOKENS: "pageTokens",
    metrics.POOL_PAGES: "poolPagesTotal",
    metrics.POOL_PAGES_FREE: "poolPagesFree",
}
"""Gauge → field of the state."""


def all_free(decode: Group) -> bool:
    return all(free == total for free, total in pages_free(decode))


def test_health_and_metrics_are_open_and_the_rest_asks_for_the_token(decode: Group) -> None:
    rank = decode.ranks[0]
    for token in ("", "wrong"):
        stranger = RankApi("127.0.0.1", rank.control_port, token)
        assert [stranger.get(path).status for path in ("/healthz", "/readyz", "/metrics")] == [200, 200, 200]
        refused = [stranger.get("/v1/state"), stranger.post("/v1/roster", {}), stranger.get("/v1/no-such-thing")]
        assert [(answer.status, answer.body["code"]) for answer in refused] == [(401, "unauthorized")] * 3


def test_metrics_say_what_the_state_says(prefill: Group, decode: Group) -> None:
    pool = decode.wait_serving()
    prefill.wait_serving()
    wait_for(lambda: all_free(decode), pool, 60)
    for rank in [*decode.ranks, *prefill.ranks]:
        state, told = rank.state(), gauges(rank.api.get("/metrics").body)
        assert told[metrics.RANK_INFO.name].labels == {
            "rank_id": rank.rank_id,
            "incarnation": rank.incarnation,
            "role": rank.role,
            "group": rank.group,
            "deployment": state["deployment"],
        }
        assert told[metrics.COORDINATES.name].value == (state["coordinator"]["rankId"] == rank.rank_id)
        for metric, field in SAID_IN_STATE.items():
            assert told[metric.name].value == state[field]


def gauges(text: str) -> dict[str, Sample]:
    """Those of the operator, each there once."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = [sample for sample in samples if sample.name in {metric.name for metric in metrics.ENGINE_METRICS}]
    assert sorted(sample.name for sample in found) == sorted(metric.name for metric in metrics.ENGINE_METRICS)
    return {sample.name: sample for sample in found}


def test_the_model_is_described(decode: Group) -> None:
    model = decode.ranks[0].api.get("/v1/model").body
    assert (model["name"], model["architecture"], model["eosTokenIds"]) == ("tiny", "llama", [1])
    assert model["kvFormat"] == decode.ranks[1].state()["kvFormat"]


def test_a_malformed_message_is_refused_by_the_name_of_its_field(decode: Group) -> None:
    pool = decode.wait_serving()
    valid = {"requestId": "r", "promptTokens": 5, "maxNewTokens": 5, "leaseMs": 1000}
    cases: list[tuple[bytes, str]] = [
        (b"{", "body"),
        (b"[]", "body"),
        (json.dumps({**valid, "promptTokens": "5"}).encode(), "promptTokens"),
        (json.dumps({**valid, "maxNewTokens": 0}).encode(), "maxNewTokens"),
        (json.dumps({k: v for k, v in valid.items() if k != "requestId"}).encode(), "requestId"),
    ]
    for body, field in cases:
        answer = pool.api.post("/v1/reserve", body)
        assert (answer.status, answer.body["code"]) == (400, "bad_request")
        assert answer.body["message"].startswith(field)
    assert pool.api.post("/v1/no-such-thing", b"").status == 404


def test_an_older_roster_and_one_for_another_incarnation_are_refused(decode: Group) -> None:
    rank = decode.ranks[0]
    held = rank.state()
    older = decode.roster(decode.ranks, held["fence"] - 1, held["generation"] + 10)
    answer = rank.api.post("/v1/roster", older)
    assert (answer.status, answer.body["code"]) == (409, "stale_fence")
    other = decode.roster(decode.ranks, held["fence"], held["generation"] + 1)
    other["members"] = [{**m, "incarnation": "someone-else"} for m in other["members"]]
    answer = rank.api.post("/v1/roster", other)
    assert (answer.status, answer.body["code"]) == (409, "wrong_incarnation")
    assert rank.state()["generation"] == held["generation"]


def test_an_old_epoch_is_refused(decode: Group) -> None:
    decode.wait_serving()
    rank = decode.ranks[1]
    state = rank.state()
    members = {r.rank_id: r.ref for r in decode.ranks}
    order = [members[rank_id] for rank_id in state["epochMembers"]]
    proposal = {
        "group": decode.name,
        "epoch": state["epoch"],
        "fence": state["fence"],
        "generation": state["generation"],
        "coordinator": order[0],
        "members": order,
        "storeHost": "127.0.0.1",
        "storePort": 1,
    }
    answer = rank.api.post("/v1/epoch", proposal)
    assert (answer.status, answer.body["code"]) == (409, "stale_epoch")
    assert rank.state()["phase"] == "serving"


def test_a_member_names_the_coordinator(prefill: Group, decode: Group) -> None:
    coordinator = decode.wait_serving()
    member = next(rank for rank in decode.ranks if rank is not coordinator)
    message = {"requestId": "r", "promptTokens": 5, "maxNewTokens": 5, "leaseMs": 1000}
    answer = member.api.post("/v1/reserve", message)
    assert (answer.status, answer.body["code"]) == (409, "not_coordinator")
    assert answer.body["coordinator"] == coordinator.ref


def test_a_reservation_is_idempotent_and_refused_with_numbers_when_pages_lack(decode: Group) -> None:
    pool = decode.wait_serving()
    request = Request(prompt_of(1000, seed=1), 24)
    assert request.reserve(pool, 600_000) == request.reserve(pool, 600_000)
    more = [Request(prompt_of(1900, seed=i), 148) for i in range(2, 12)]
    refusal = None
    for one in more:
        answer = pool.api.post(
            "/v1/reserve",
            {"requestId": one.request_id, "promptTokens": 1900, "maxNewTokens": 148, "leaseMs": 600_000},
        )
        refusal = answer.body if answer.status == 429 else refusal
    assert refusal is not None
    assert refusal["code"] == "out_of_pages"
    assert refusal["freePages"] == 3 * PAGES - 16 - 8 * 32
    assert refusal["missingPages"] == 32 - refusal["freePages"]
    for one in [request, *more]:
        assert pool.api.post("/v1/cancel", {"requestId": one.request_id}).status == 200
    wait_for(lambda: all_free(decode), pool, 60)


def test_what_is_longer_than_the_context_is_refused(decode: Group) -> None:
    pool = decode.wait_serving()
    with pytest.raises(ServingError) as refused:
        Request(prompt_of(CONTEXT, seed=1), 1).reserve(pool)
    assert refused.value.code == "prompt_too_long"


def test_a_lease_frees_the_pages_in_time(decode: Group) -> None:
    pool = decode.wait_serving()
    request = Request(prompt_of(500, seed=2), 10)
    request.reserve(pool, lease_ms=4_000)
    assert not all_free(decode)
    wait_for(lambda: all_free(decode), pool, 60)
    with pytest.raises(ServingError) as refused:
        request.decode(pool, 5)
    assert refused.value.code == "unknown_request"


def test_a_decode_without_all_of_the_prompts_kv_never_answers(decode: Group) -> None:
    pool = decode.wait_serving()
    request = Request(prompt_of(200, seed=3), 10)
    request.reserve(pool)
    with pytest.raises(ServingError) as refused:
        request.decode(pool, 5)
    assert refused.value.code == "lost_pages"
    wait_for(lambda: all_free(decode), pool, 60)


def test_asking_again_follows_the_same_stream_from_its_start(prefill: Group, decode: Group, oracle: Oracle) -> None:
    pool = decode.wait_serving()
    request = Request(prompt_of(90, seed=4), 40)
    first, _ = request.prefill(prefill.wait_serving(), request.reserve(pool))
    opened = pool.api.stream("/v1/decode", request.decode_message(first))
    next(opened)
    tokens, done = request.decode(pool, first)
    assert [first, *tokens] == oracle.greedy(request.prompt, 40)
    assert done["reason"] == "length"
    assert [e["tokenId"] for e in opened if e["type"] == "token"] == tokens[1:]
    assert request.decode(pool, first) == (tokens, done)


def test_a_stop_token_ends_the_stream_and_is_reported(prefill: Group, decode: Group, oracle: Oracle) -> None:
    prompt = prompt_of(70, seed=5)
    expected = oracle.greedy(prompt, 30)
    stop = next(token for token in expected[3:] if token not in expected[:3])
    pool = decode.wait_serving()
    request = Request(prompt, 30, stop=[stop])
    first, _ = request.prefill(prefill.wait_serving(), request.reserve(pool))
    tokens, done = request.decode(pool, first)
    assert [first, *tokens] == expected[: expected.index(stop) + 1]
    assert done["reason"] == "stop"


@pytest.mark.parametrize("how", ["a cancel", "a dropped connection"])
def test_pages_are_freed_when_the_client_gives_up(prefill: Group, decode: Group, how: str) -> None:
    pool = decode.wait_serving()
    request = Request(prompt_of(300, seed=6), 1700)
    first, _ = request.prefill(prefill.wait_serving(), request.reserve(pool))
    stream = pool.api.stream("/v1/decode", request.decode_message(first))
    next(stream)
    if how == "a cancel":
        assert pool.api.post("/v1/cancel", {"requestId": request.request_id}).status == 200
        assert list(stream)[-1]["reason"] == "cancelled"
    else:
        stream.close()
    wait_for(lambda: all_free(decode), pool, 60)
    assert pool.state()["running"] == 0


def test_a_prefill_for_a_cancelled_reservation_is_refused_by_the_holders(prefill: Group, decode: Group) -> None:
    pool = decode.wait_serving()
    request = Request(prompt_of(130, seed=7), 10)
    reservation = request.reserve(pool)
    pool.api.post("/v1/cancel", {"requestId": request.request_id})
    with pytest.raises(ServingError) as refused:
        request.prefill(prefill.wait_serving(), reservation)
    assert refused.value.code == "unknown_request"


def test_kv_for_a_dead_incarnation_is_refused(prefill: Group, decode: Group) -> None:
    pool, group = decode.wait_serving(), prefill.wait_serving()
    request = Request(prompt_of(130, seed=8), 10)
    reservation = request.reserve(pool)
    reservation["holders"] = [{**holder, "incarnation": "dead"} for holder in reservation["holders"]]
    with pytest.raises(ServingError) as refused:
        request.prefill(group, reservation)
    assert refused.value.code == "wrong_incarnation"


def test_a_prefill_checks_its_tokens_and_page_map(prefill: Group, decode: Group) -> None:
    group = prefill.wait_serving()
    request = Request(prompt_of(130, seed=9), 10)
    reservation = request.reserve(decode.wait_serving())
    message = request.prefill_message(reservation)
    wrong = [
        {**message, "tokenIds": [*request.prompt[:-1], 5000]},
        {**message, "reservation": {**reservation, "pages": reservation["pages"][1:]}},
        {**message, "reservation": {**reservation, "kvFormat": "other"}},
        {**message, "sampling": {**GREEDY, "topP": 0}},
    ]
    for one in wrong:
        events = list(group.api.stream("/v1/prefill", one))
        assert [event["error"]["code"] for event in events] == ["bad_request"]


def test_a_prefill_ends_at_its_deadline(prefill: Group, decode: Group) -> None:
    group = prefill.wait_serving()
    request = Request(prompt_of(2000, seed=10), 10)
    reservation = request.reserve(decode.wait_serving())
    events = list(group.api.stream("/v1/prefill", request.prefill_message(reservation, deadline_ms=1)))
    assert events[-1]["error"]["code"] == "deadline_exceeded"


def test_the_transfer_port_refuses_a_wrong_token_and_nonsense(decode: Group) -> None:
    rank = decode.ranks[0]
    assert transfer_answer(rank, {"token": "wrong"})["code"] == "unauthorized"
    assert transfer_answer(rank, {"token": TOKEN}) == {}
    with socket.create_connection(("127.0.0.1", rank.transfer_port), timeout=60) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert connection.recv(100) == b""
    assert rank.state()["phase"] == "serving"


def transfer_answer(rank: RankProcess, hello: dict[str, str]) -> dict[str, str]:
    text = json.dumps(hello).encode()
    with socket.create_connection(("127.0.0.1", rank.transfer_port), timeout=60) as connection:
        connection.sendall(struct.pack(">I", len(text)) + text)
        time.sleep(0.05)
        answer = connection.recv(1000)
    return dict(json.loads(answer[4:]))
