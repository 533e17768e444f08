"""A pool that may choose what its steps read: long requests are thinned and say so, short ones are exact."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from gateway_part import Request
from rank_process import Group, Place
from tiny_model import Oracle, prompt_of

MIN_TOKENS = 1024


@pytest.fixture(scope="module")
def choosing(place: Place) -> Iterator[Group]:
    """A serving pool of two ranks."""
    allowed = {"CSPS_SPARSE_ATTENTION": "enabled", "CSPS_SPARSE_MIN_TOKENS": str(MIN_TOKENS)}
    settings = {**place.settings, **allowed}
    with Group(dataclasses.replace(place, settings=settings), "tiny-choosing", "decode", 2).served() as group:
        yield group


def metric(group: Group, name: str) -> float:
    """Of the coordinator."""
    lines = str(group.ranks[0].api.get("/metrics").body).splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def test_a_long_request_tells_what_its_steps_read_and_covered(choosing: Group, prefill: Group) -> None:
    pool, request = choosing.wait_serving(), Request(prompt_of(1900, seed=41), 40)
    reservation = request.reserve(pool)
    first, _ = request.prefill(prefill.wait_serving(), reservation)
    tokens, done = request.decode(pool, first)
    told = done["sparse"]
    assert (len(tokens), done["reason"]) == (39, "length")
    assert len(reservation["holders"]) == 2
    assert 0 < told["readShare"] < 1
    assert 0 < told["massMean"] < 1
    assert 1 - told["massMean"] <= told["leftBound"] <= 1
    read, skipped = (metric(choosing, f"csps_sparse_decode_{what}_tokens_total") for what in ("read", "skipped"))
    assert told["readShare"] == pytest.approx(read / (read + skipped))
    assert metric(choosing, "csps_sparse_decode_mass_covered_count") == 1


def test_a_request_that_stays_short_is_exact(choosing: Group, prefill: Group, oracle: Oracle) -> None:
    pool, request = choosing.wait_serving(), Request(prompt_of(MIN_TOKENS - 20, seed=42), 10)
    first, _ = request.prefill(prefill.wait_serving(), request.reserve(pool))
    tokens, done = request.decode(pool, first)
    assert "sparse" not in done
    assert [first, *tokens] == oracle.greedy(request.prompt, 10)
