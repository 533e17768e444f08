from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from gateway_part import Request
from rank_process import Group, Place
from tiny_model import Oracle, prompt_of

MIN_TOKENS = 1024


@pytest.fixture(scope="module")
def sparse(place: Place) -> Iterator[Group]:
    """A serving prefill group of three ranks that may leave keys out."""
    allowed = {"CSPS_SPARSE_ATTENTION": "enabled", "CSPS_SPARSE_MIN_TOKENS": str(MIN_TOKENS)}
    settings = {**place.settings, **allowed}
    with Group(dataclasses.replace(place, settings=settings), "tiny-sparse-0", "prefill", 3).served() as group:
        yield group


def asked(request: Request, group: Group, decode: Group, **more: Any) -> tuple[int, dict[str, Any]]:
    message = {**request.prefill_message(request.reserve(decode.wait_serving())), "degree": 3, **more}
    events = list(group.wait_serving().api.stream("/v1/prefill", message))
    assert events[-1]["type"] == "done", events[-1]
    return next(event["tokenId"] for event in events if event["type"] == "token"), events[-1]


def metric(group: Group, name: str) -> list[float]:
    """Of every rank."""
    texts = [str(rank.api.get("/metrics").body) for rank in group.ranks]
    return [float(line.split()[1]) for text in texts for line in text.splitlines() if line.startswith(f"{name} ")]


def test_a_long_prompt_tells_what_sparse_attention_fetched_and_covered(sparse: Group, decode: Group) -> None:
    before = metric(sparse, "csps_sparse_fetched_bytes_total")
    request = Request(prompt_of(1900, seed=31), 4)
    first, done = asked(request, sparse, decode, attention="sparse")
    told = done["sparse"]
    assert done["degree"] == 3
    assert 0 < told["fetchedBytes"] < told["availableBytes"]
    assert 0 < told["massP01"] <= told["massMean"] <= 1
    assert told["massMean"] > 0.9
    fetched = [now - then for now, then in zip(metric(sparse, "csps_sparse_fetched_bytes_total"), before, strict=True)]
    assert told["fetchedBytes"] in fetched
    assert min(fetched) > 0
    assert metric(sparse, "csps_sparse_mass_covered_count") == [1.0] * 3
    assert told["fetchedShare"] < 1
    # Planners hear of it too, so that they don't take its time for that of an exact prompt.
    state = next(state for rank in sparse.ranks if (state := rank.state())["load"]["prefills"])
    assert state["load"]["prefills"][-1]["sparse"] == told
    # The KV that was pushed is whole: the pool decodes on from it.
    tokens, ended = request.decode(decode.wait_serving(), first)
    assert (len(tokens), ended["reason"]) == (3, "length")


def test_a_request_for_dense_attention_is_exact_in_a_sparse_group(sparse: Group, decode: Group, oracle: Oracle) -> None:
    request = Request(prompt_of(1800, seed=32), 6)
    first, done = asked(request, sparse, decode, attention="dense")
    assert "sparse" not in done
    assert [first, *request.decode(decode.wait_serving(), first)[0]] == oracle.greedy(request.prompt, 6)


def test_a_prompt_shorter_than_the_deployment_allows_is_exact(sparse: Group, decode: Group, oracle: Oracle) -> None:
    request = Request(prompt_of(MIN_TOKENS - 1, seed=33), 6)
    first, done = asked(request, sparse, decode)
    assert "sparse" not in done
    assert [first, *request.decode(decode.wait_serving(), first)[0]] == oracle.greedy(request.prompt, 6)
