from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
import torch
from test_transfer import LAYERS, TOKEN, Holder, holder

import csps_engine.transfer.prefix_pull as pulling
from csps_engine.core.plan import Place
from csps_engine.refusal import Refused
from csps_engine.scheduler.replica import IncomingPage
from csps_engine.scheduler.ticks import Holding, Tick
from csps_engine.transfer.frame import PageRead, TransferBroken, read_from_json
from csps_engine.transfer.prefix_pull import PrefixPull
from csps_engine.transfer.push_sink import PushSink
from csps_engine.transfer.transport import Access
from csps_engine.wire.generated import PagePlace, Reservation

SLOTS = (5, 2, 6, 3)
"""Of four pages, on the two holders in turn; three are shared."""
SHARED = 3


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No holder of these tests is silent because the machine is busy."""
    monkeypatch.setattr(pulling, "SILENCE_SECONDS", 30.0)


@pytest.fixture(params=["float32", "bfloat16"])
def pool(request: pytest.FixtureRequest) -> Iterator[list[Holder]]:
    torch.manual_seed(0)
    holders = [holder("d-0", request.param), holder("d-1", request.param)]
    places = tuple(Place(page % 2, slot) for page, slot in enumerate(SLOTS))
    for rank, one in enumerate(holders):
        one.store.replica.apply(Tick("idle", held=(Holding("r", 1, 250, 0, places, SHARED),)), rank)
        for layer in range(LAYERS):
            for slot in SLOTS:
                one.store.pool.write(layer, slot, torch.randn(2, 64, 8), torch.randn(2, 64, 8))
    yield holders
    for one in holders:
        one.server.close()


def reservation_of(holders: list[Holder]) -> Reservation:
    return Reservation(
        request_id="r",
        epoch=1,
        home_rank="d-0",
        holders=[one.ref for one in holders],
        pages=[PagePlace(page=i, rank_id=f"d-{i % 2}", slot=slot) for i, slot in enumerate(SLOTS)],
        page_tokens=64,
        kv_format="f",
        shared_pages=SHARED,
    )


def pull_of(holders: list[Holder], seconds: float = 90.0) -> PrefixPull:
    return PrefixPull(reservation_of(holders), holders[0].store.pool.shape, TOKEN, time.monotonic() + seconds)


def test_every_layer_of_the_beginning_comes_bit_by_bit_in_order(pool: list[Holder]) -> None:
    pull = pull_of(pool)
    assert pull.tokens == 64 * SHARED
    for layer in range(LAYERS):
        k, v = pull.take(layer)
        for page in range(SHARED):
            tokens = slice(64 * page, 64 * page + 64)
            stored = pool[page % 2].store.pool.read(layer, SLOTS[page], 64)
            assert torch.equal(k[:, tokens], stored[0])
            assert torch.equal(v[:, tokens], stored[1])
    assert pull.failure is None


def test_layers_that_are_ready_are_taken_without_waiting(pool: list[Holder]) -> None:
    pull = pull_of(pool)
    for layer in range(LAYERS):
        until = time.monotonic() + 60
        while not pull.ready(0.1):
            assert time.monotonic() < until
        assert 1 <= pull.ready() <= LAYERS - layer
        pull.take(layer)
    assert pull.ready() == 0
    assert pull.failure is None


def test_nothing_is_ready_of_a_holder_that_says_nothing(pool: list[Holder], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "SILENCE_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        ref = pool[0].ref.model_copy(update={"transfer_port": deaf.getsockname()[1]})
        pull = pull_of([Holder(pool[0].store, pool[0].server, ref), pool[1]], seconds=60.0)
        assert pull.ready(0.05) == 0
        pull.take(0)
    assert pull.failure is not None
    pull.close()


def test_a_taker_in_inference_mode_may_come_before_the_pages(pool: list[Holder]) -> None:
    with torch.inference_mode():
        pull = pull_of(pool)
        k, _ = pull.take(0)
        assert torch.equal(k[:, :64], pool[0].store.pool.read(0, SLOTS[0], 64)[0])
    assert pull.failure is None


def test_a_page_that_moved_since_is_not_read(pool: list[Holder]) -> None:
    places = (Place(0, 5), Place(1, 2), Place(1, 7), Place(1, 3))
    pool[0].store.replica.apply(Tick("idle", held=(Holding("r", 1, 250, 0, places, SHARED),)), 0)
    pull = pull_of(pool)
    for layer in range(LAYERS):
        pull.take(layer)
    assert pull.failure is not None
    assert pull.failure.code == "lost_pages"


def test_a_request_that_ended_is_not_read(pool: list[Holder]) -> None:
    pool[1].store.replica.apply(Tick("idle", ended=("r",)), 1)
    pull = pull_of(pool)
    for layer in range(LAYERS):
        pull.take(layer)
    assert pull.failure is not None
    assert pull.failure.code == "unknown_request"


def test_without_its_beginning_nothing_of_a_prompt_is_pushed(pool: list[Holder]) -> None:
    pool[0].server.close()
    pull = pull_of(pool)
    shape = pool[0].store.pool.shape
    sink = PushSink(reservation_of(pool), shape, Access(TOKEN), time.monotonic() + 60, pull)
    for layer in range(LAYERS):
        pull.take(layer)
        sink.write(layer, 192, torch.zeros(2, 58, 8), torch.zeros(2, 58, 8))
    with pytest.raises(Refused, match="beginning"):
        sink.flush()
    assert pool[1].store.replica.missing_pages("r") == 1


def test_a_silent_holder_is_given_up_soon(pool: list[Holder], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "SILENCE_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        ref = pool[0].ref.model_copy(update={"transfer_port": deaf.getsockname()[1]})
        pull = pull_of([Holder(pool[0].store, pool[0].server, ref), pool[1]], seconds=60.0)
        pull.take(0)
    assert pull.failure is not None
    pull.close()


@pytest.mark.parametrize(
    ("page", "version", "layer", "incarnation", "code"),
    [
        (IncomingPage(3, 3, 64), 1, 0, "d-1-uid", "bad_request"),
        (IncomingPage(1, 2, 63), 1, 0, "d-1-uid", "bad_request"),
        (IncomingPage(1, 2, 64), 2, 0, "d-1-uid", "stale_epoch"),
        (IncomingPage(1, 2, 64), 1, LAYERS, "d-1-uid", "bad_request"),
        (IncomingPage(1, 2, 64), 1, 0, "d-1-old", "wrong_incarnation"),
        (IncomingPage(-1, 2, 64), 1, 0, "d-1-uid", "bad_request"),
        (IncomingPage(0, 5, 64), 1, 0, "d-1-uid", "lost_pages"),
    ],
    ids=["its own page", "part of a page", "old version", "no layer", "a successor", "no page", "another rank's"],
)
def test_only_shared_pages_of_a_standing_reservation_are_given(
    pool: list[Holder], page: IncomingPage, version: int, layer: int, incarnation: str, code: str
) -> None:
    with pytest.raises(Refused) as refused:
        pool[1].store.give(PageRead("r", incarnation, version, layer, (page,)))
    assert refused.value.failure.code == code


@pytest.mark.parametrize("damage", [{}, {"requestId": 1}, {"pages": [[1, 2]]}, {"layer": "0"}, []])
def test_a_malformed_read_ends_the_connection(damage: object) -> None:
    whole = PageRead("r", "i", 1, 0, (IncomingPage(0, 5, 64),)).to_json()["read"]
    assert read_from_json(whole) == PageRead("r", "i", 1, 0, (IncomingPage(0, 5, 64),))
    with pytest.raises(TransferBroken):
        read_from_json({**whole, **damage} if isinstance(damage, dict) and damage else damage)
