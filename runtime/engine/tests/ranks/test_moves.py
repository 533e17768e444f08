from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from background import Background
from gateway_part import Request
from rank_process import Group, RankProcess, others, wait_for
from tiny_model import Oracle, prompt_of

PAGE_BYTES = 64 * 3 * 2 * 2 * 8 * 4
SLOW = PAGE_BYTES // 20
"""Bytes a second: a page takes twenty seconds, so that a test can act while pages are copied."""


@dataclass
class Live:
    """A request that is being decoded, and its stream."""

    request: Request
    first: int
    stream: Background

    @property
    def tokens(self) -> list[int]:
        return [self.first, *self.stream.tokens]


@pytest.fixture
def live(prefill: Group, decode: Group) -> Iterator[Live]:
    """A long answer under way in a pool of three, over at the end of the test."""
    pool = decode.wait_serving()
    yield (one := begin(prefill, pool, prompt=700, count=1300))
    answer = decode.wait_serving().api.post("/v1/cancel", {"requestId": one.request.request_id})
    assert answer.status == 200


def begin(prefill: Group, pool: RankProcess, prompt: int, count: int) -> Live:
    request = Request(prompt_of(prompt, seed=prompt), count)
    first, _ = request.prefill(prefill.wait_serving(), request.reserve(pool))
    stream = Background(pool.api.stream("/v1/decode", request.decode_message(first)))
    stream.wait_for_events(3)
    return Live(request, first, stream)


def inventory(pool: RankProcess) -> dict[str, Any]:
    return dict(pool.api.get("/v1/inventory").body)


def facts_of(live: Live, pool: RankProcess) -> dict[str, Any]:
    return next(r for r in inventory(pool)["requests"] if r["requestId"] == live.request.request_id)


def order(live: Live, pool: RankProcess, source: RankProcess, target: RankProcess, **fields: Any) -> dict[str, Any]:
    """Of the first shard on the source, all of it."""
    facts = facts_of(live, pool)
    shard = next(s for s in facts["shards"] if s["rankId"] == source.rank_id)
    return {
        "moveId": f"m-{uuid.uuid4()}",
        "fence": 1,
        "requestId": live.request.request_id,
        "mapVersion": facts["mapVersion"],
        "from": source.rank_id,
        "fromIncarnation": source.incarnation,
        "to": target.rank_id,
        "toIncarnation": target.incarnation,
        "firstPage": shard["firstPage"],
        "pages": shard["pages"],
        "bytesPerSecond": 0,
        "takesHome": False,
        "deadlineMs": 60_000,
        **fields,
    }


def ended(pool: RankProcess, move_id: str) -> dict[str, Any]:
    """The move once it is over."""
    found: list[dict[str, Any]] = []

    def over() -> bool:
        found[:] = [m for m in inventory(pool)["moves"] if m["moveId"] == move_id and m["phase"] != "copying"]
        return bool(found)

    wait_for(over, pool, 60)
    return found[0]


def move_all(live: Live, pool: RankProcess, source: RankProcess, target: RankProcess, takes_home: bool) -> None:
    """Every page that the source holds of a request."""
    while any(s["rankId"] == source.rank_id for s in facts_of(live, pool)["shards"]):
        asked = order(live, pool, source, target, takesHome=takes_home)
        assert pool.api.post("/v1/move", asked).body["phase"] in ("copying", "committed")
        state = ended(pool, asked["moveId"])
        assert (state["phase"], state["reason"]) == ("committed", "")
        assert state["copiedBytes"] == state["totalBytes"]
        assert state["mapVersion"] == asked["mapVersion"] + 1


def test_moves_in_mid_stream_change_no_token(live: Live, decode: Group, oracle: Oracle) -> None:
    pool = decode.wait_serving()
    one, two = others(decode, pool)
    move_all(live, pool, one, two, takes_home=False)
    move_all(live, pool, pool, one, takes_home=True)
    facts = facts_of(live, pool)
    assert {shard["rankId"] for shard in facts["shards"]} == {one.rank_id, two.rank_id}
    assert facts["home"] == one.rank_id
    moved = len(live.stream.tokens)
    live.stream.wait_for_events(moved + 60)
    assert live.tokens[: moved + 60] == oracle.greedy(live.request.prompt, moved + 60)
    held = {rank.rank_id: rank.state()["heldPages"] for rank in decode.ranks}
    assert held[pool.rank_id] == 0
    assert sum(held.values()) == sum(shard["pages"] for shard in facts["shards"])
    metrics = pool.api.get("/metrics").body
    assert 'csps_moves_total{outcome="committed"}' in metrics
    assert "csps_move_stall_seconds_count" in metrics


def test_a_move_is_idempotent_can_be_cancelled_and_has_a_deadline(live: Live, decode: Group) -> None:
    pool = decode.wait_serving()
    one, two = others(decode, pool)
    free = inventory(pool)["ranks"]
    asked = order(live, pool, one, two, bytesPerSecond=SLOW)
    begun = pool.api.post("/v1/move", asked).body
    assert (begun["phase"], pool.api.post("/v1/move", asked).body["phase"]) == ("copying", "copying")
    cancel = {"moveId": asked["moveId"], "fence": 1}
    assert one.api.post("/v1/move/cancel", cancel).body["coordinator"] == pool.ref
    assert pool.api.post("/v1/move/cancel", {**cancel, "fence": 0}).body["code"] == "stale_fence"
    assert pool.api.post("/v1/move/cancel", cancel).body["phase"] == "cancelled"
    late = order(live, pool, one, two, bytesPerSecond=SLOW, deadlineMs=300)
    pool.api.post("/v1/move", late)
    assert ended(pool, late["moveId"])["reason"] == "it took longer than 300 ms"
    stale = order(live, pool, one, two, mapVersion=77)
    refused = pool.api.post("/v1/move", stale).body
    assert (refused["phase"], "not 77" in refused["reason"]) == ("refused", True)
    assert [rank["pagesFree"] for rank in inventory(pool)["ranks"]] == [rank["pagesFree"] for rank in free]


@pytest.mark.parametrize("victim", ["target", "source"])
def test_a_rank_killed_while_pages_are_copied_ends_the_move_and_only_its_own_pages(
    prefill: Group, decode: Group, oracle: Oracle, victim: str
) -> None:
    pool = decode.wait_serving()
    one, two = others(decode, pool)
    live = begin(prefill, pool, prompt=400, count=1500)
    move_all(live, pool, two, one, takes_home=False)
    source, target = (one, two) if victim == "target" else (one, pool)
    asked = order(live, pool, source, target, bytesPerSecond=SLOW)
    assert pool.api.post("/v1/move", asked).body["phase"] == "copying"
    gone = target if victim == "target" else source
    gone.kill()
    survivors = others(decode, gone)
    decode.push_roster(survivors)
    decode.wait_serving(survivors, 60)
    state = ended(pool, asked["moveId"])
    assert (state["phase"], state["reason"].startswith("the epoch ended")) == ("failed", True)
    if victim == "target":
        told = len(live.stream.tokens)
        live.stream.wait_for_events(told + 30)
        assert live.tokens[: told + 30] == oracle.greedy(live.request.prompt, told + 30)
        pool.api.post("/v1/cancel", {"requestId": live.request.request_id})
    else:
        assert live.stream.finish(60)[-1]["error"]["code"] == "lost_pages"
    wait_for(lambda: all(r["pagesFree"] == r["pagesTotal"] for r in inventory(pool)["ranks"]), pool, 60)
