from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from nursery import Nursery
from rank_process import ENGINE, Group, Place, wait_for
from tiny_model import Oracle, write_tiny_model

KV_BYTES = 64 * 3 * 2 * 2 * 8 * 4 * 96
"""96 pages a rank: 64 tokens, 3 layers, K and V of 2 heads of 8 floats."""
COLLECTIVE_TIMEOUT_MS = "8000"
"""A busy machine keeps one rank of many waiting for seconds, and then its peers would leave it out."""


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-model")
    write_tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def oracle(tiny_model: Path) -> Oracle:
    return Oracle(tiny_model)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery(ENGINE)
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def place(tiny_model: Path, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Place:
    settings = {
        "CSPS_KV_BYTES": str(KV_BYTES),
        "CSPS_COLLECTIVE_TIMEOUT_MS": COLLECTIVE_TIMEOUT_MS,
        "CSPS_HEARTBEAT_MS": "250",
    }
    return Place(tmp_path_factory.mktemp("ranks"), tiny_model, settings, nursery)


@pytest.fixture(scope="session")
def started(place: Place) -> Iterator[tuple[Group, Group]]:
    """All processes at once, for they import torch side by side."""
    prefill = Group(place, "tiny-prefill-0", "prefill", 2)
    decode = Group(place, "tiny-decode", "decode", 3)
    try:
        for group in (prefill, decode):
            group.wait_loaded()
            group.push_roster()
            group.wait_serving()
        yield prefill, decode
    finally:
        prefill.close()
        decode.close()


@pytest.fixture
def prefill(started: tuple[Group, Group]) -> Group:
    """A serving prefill group of two ranks."""
    started[0].restore()
    return started[0]


@pytest.fixture
def decode(started: tuple[Group, Group]) -> Group:
    """A serving decode pool of three ranks that hold no page for an earlier test."""
    pool = started[1].restore()
    for left in pool.api.get("/v1/inventory").body["requests"]:
        pool.api.post("/v1/cancel", {"requestId": left["requestId"]})
    # What ranks hold for a request that an earlier pool took is theirs until its lease ends.
    wait_for(lambda: not any(rank.state()["heldPages"] for rank in started[1].ranks), pool, 90)
    return started[1]
