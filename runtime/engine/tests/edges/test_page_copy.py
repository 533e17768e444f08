"""Pages of a live request are copied to another rank: several layers in a frame, whatever the rate."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator

import pytest
import torch
from test_transfer import LAYERS, TOKEN, Holder, answers, frame, holder

from csps_engine.kv.pool import KvPool
from csps_engine.scheduler.move import MoveTicket
from csps_engine.scheduler.replica import IncomingPage
from csps_engine.scheduler.ticks import Tick
from csps_engine.transfer.errand import Errand
from csps_engine.transfer.page_copy import CopyRoute, PageCopy
from csps_engine.transfer.transport import TcpTransport

SOURCES, TARGETS = (0, 3, 1), (7, 4, 2)


@pytest.fixture
def target() -> Iterator[Holder]:
    """Rank 1 of the pool, to which pages of r move."""
    one = holder("d-1")
    one.hold((5, 2, 6, 1), 0)
    ticket = MoveTicket("m", "r", 0, 1, 0, TARGETS, 64 * len(SOURCES) + 9, 0, 60_000, False)
    one.store.replica.apply(Tick("idle", tickets=(ticket,)), 1)
    yield one
    one.server.close()


@pytest.mark.parametrize("bytes_per_second", [0, 2**20])
def test_every_page_arrives_bit_by_bit_in_as_few_frames_as_may_be(target: Holder, bytes_per_second: int) -> None:
    shape = target.store.pool.shape
    pool = KvPool(shape, 8)
    for layer in range(LAYERS):
        for slot in range(8):
            pool.write(layer, slot, torch.randn(2, 64, 8), torch.randn(2, 64, 8))
    errand = Errand("r", 1, target.ref, TOKEN, shape, time.monotonic() + 120, "m")
    route = CopyRoute(0, SOURCES, TARGETS, bytes_per_second)
    copy = PageCopy(pool, errand, TcpTransport(), route, 64 * len(SOURCES) + 9)
    until = time.monotonic() + 120
    while copy.copied_pages < len(SOURCES):
        assert not copy.failed, copy.why_failed
        assert time.monotonic() < until
        time.sleep(0.01)
    for layer in range(LAYERS):
        for source, slot in zip(SOURCES, TARGETS, strict=True):
            for sent, stored in zip(pool.read(layer, source, 64), target.store.pool.read(layer, slot, 64), strict=True):
                assert torch.equal(sent, stored)
    assert copy.copied_bytes == len(SOURCES) * shape.page_bytes()


@pytest.mark.parametrize("change", [{"layers": 0}, {"layers": 3}, {"layer": 1, "layers": 2}, {"move_id": ""}])
def test_layers_that_are_not_there_or_are_of_a_prompt_are_refused(target: Holder, change: dict[str, object]) -> None:
    pages = (IncomingPage(0, TARGETS[0], 64),)
    whole = {"incarnation": "d-1-uid", "pages": pages, "move_id": "m", "layers": 2, **change}
    size = 64 * target.store.pool.shape.token_layer_bytes() * max(1, int(str(whole["layers"])))
    payload = torch.ones(size, dtype=torch.uint8).numpy().tobytes()
    target.store.pool.write(0, TARGETS[0], torch.zeros(2, 64, 8), torch.zeros(2, 64, 8))
    header = frame(payload, crc32=zlib.crc32(payload), **whole)
    _, answer = answers(target, header, payload)
    assert answer is None or answer["code"] == "bad_request"
    assert not target.store.pool.read(0, TARGETS[0], 64)[0].any()
