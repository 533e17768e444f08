from __future__ import annotations

import socket
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from free_ports import free_ports
from transports import TRANSPORTS

from csps_engine.core.kvshape import DtypeName, KvShape
from csps_engine.core.plan import Place
from csps_engine.kv.pool import KvPool
from csps_engine.metrics import Metrics
from csps_engine.refusal import Refused
from csps_engine.scheduler.replica import IncomingPage, Replica
from csps_engine.scheduler.ticks import Holding, Tick
from csps_engine.transfer.frame import FrameHeader, receive_json, send_json
from csps_engine.transfer.push_sink import PushSink
from csps_engine.transfer.receiver import PageStore, TransferServer
from csps_engine.transfer.transport import Access, TcpTransport, Transport
from csps_engine.wire.generated import PagePlace, RankRef, Reservation

TOKENS = 150
PAGES = 3
LAYERS = 2
TOKEN = "token"
TCP = TcpTransport()


@dataclass
class Holder:
    """A decode rank's transfer port in this process."""

    store: PageStore
    server: TransferServer
    ref: RankRef

    def hold(self, slots: tuple[int, ...], rank: int) -> None:
        """Reserve `slots` here for the pages of request r that are placed on mesh rank `rank`."""
        places = tuple(Place(page % 2, slot) for page, slot in enumerate(slots))
        self.store.replica.apply(Tick("idle", held=(Holding("r", 1, TOKENS, 0, places),)), rank)


def holder(name: str, dtype: DtypeName = "float32", transport: Transport = TCP) -> Holder:
    shape = KvShape(layers=LAYERS, kv_heads=2, head_dim=8, dtype=dtype)
    store = PageStore(f"{name}-uid", Replica(LAYERS), KvPool(shape, 8), Metrics())
    port = free_ports()
    server = TransferServer("127.0.0.1", port, Access(TOKEN, transport), store)
    ref = RankRef(rank_id=name, incarnation=f"{name}-uid", address="127.0.0.1", control_port=1, transfer_port=port)
    return Holder(store, server, ref)


@pytest.fixture(params=sorted(TRANSPORTS))
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def sender(transport: str) -> Transport:
    """Of the rank that pushes."""
    return TRANSPORTS[transport]()


@pytest.fixture(params=["float32", "bfloat16"])
def pool(request: pytest.FixtureRequest, transport: str) -> Iterator[list[Holder]]:
    """Two holders; even pages lie on the first."""
    holders = [holder(name, request.param, TRANSPORTS[transport]()) for name in ("d-0", "d-1")]
    for rank, one in enumerate(holders):
        one.hold((5, 2, 6), rank)
    yield holders
    for one in holders:
        one.server.close()


def sink_for(holders: list[Holder], sender: Transport = TCP, seconds: float = 120.0) -> PushSink:
    pages = [PagePlace(page=i, rank_id=f"d-{i % 2}", slot=slot) for i, slot in enumerate((5, 2, 6))]
    reservation = Reservation(
        request_id="r",
        epoch=1,
        home_rank="d-0",
        holders=[one.ref for one in holders],
        pages=pages,
        page_tokens=64,
        kv_format="f",
    )
    return PushSink(reservation, holders[0].store.pool.shape, Access(TOKEN, sender), time.monotonic() + seconds)


def kv_of(holders: list[Holder]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    dtype = getattr(torch, holders[0].store.pool.shape.dtype)
    torch.manual_seed(0)
    return [(torch.randn(2, TOKENS, 8).to(dtype), torch.randn(2, TOKENS, 8).to(dtype)) for _ in range(LAYERS)]


def push_all(sink: PushSink, kv: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    for layer, (k, v) in enumerate(kv):
        sink.write(layer, 0, k[:, :64], v[:, :64])
        sink.write(layer, 64, k[:, 64:], v[:, 64:])


def test_every_page_arrives_bit_by_bit_where_it_was_reserved(pool: list[Holder], sender: Transport) -> None:
    kv, sink = kv_of(pool), sink_for(pool, sender)
    push_all(sink, kv)
    sink.flush()
    for page, slot in enumerate((5, 2, 6)):
        tokens = slice(64 * page, min(64 * page + 64, TOKENS))
        for layer, (k, v) in enumerate(kv):
            stored = pool[page % 2].store.pool.read(layer, slot, tokens.stop - tokens.start)
            assert torch.equal(stored[0], k[:, tokens])
            assert torch.equal(stored[1], v[:, tokens])
    assert [one.store.replica.missing_pages("r") for one in pool] == [0, 0]
    assert sink.acknowledged_bytes == sum(2 * k.numel() * k.element_size() for k, _ in kv)


def test_a_request_that_ends_during_the_push_is_not_written_any_more(pool: list[Holder], sender: Transport) -> None:
    kv, sink = kv_of(pool), sink_for(pool, sender)
    push_all(sink, kv[:1])
    assert not sink.poll(0.3)
    for rank, one in enumerate(pool):
        one.store.replica.apply(Tick("idle", ended=("r",)), rank)
        one.store.pool.write(1, 5 if rank == 0 else 2, torch.ones(2, 64, 8), torch.ones(2, 64, 8))
    sink.write(1, 0, *(part[:, :64] for part in kv[1]))
    with pytest.raises(Refused) as refused:
        sink.flush()
    assert refused.value.failure.code == "unknown_request"
    assert torch.equal(pool[0].store.pool.read(1, 5, 64)[0].float(), torch.ones(2, 64, 8))


def test_another_incarnation_at_the_same_address_refuses(pool: list[Holder], sender: Transport) -> None:
    late = [Holder(one.store, one.server, one.ref.model_copy(update={"incarnation": "dead"})) for one in pool]
    sink = sink_for(late, sender)
    push_all(sink, kv_of(pool))
    with pytest.raises(Refused) as refused:
        sink.flush()
    assert refused.value.failure.code == "wrong_incarnation"


def test_a_holder_that_is_gone_is_told_within_the_deadline(pool: list[Holder], sender: Transport) -> None:
    pool[1].server.close()
    sink = sink_for(pool, sender)
    push_all(sink, kv_of(pool))
    with pytest.raises(Refused) as refused:
        sink.flush()
    assert refused.value.failure.code == "lost_pages"
    assert "d-1" in refused.value.failure.message


def test_a_holder_that_never_answers_is_given_up_at_the_deadline(pool: list[Holder], sender: Transport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        ref = pool[0].ref.model_copy(update={"transfer_port": deaf.getsockname()[1]})
        sink = sink_for([Holder(pool[0].store, pool[0].server, ref), pool[1]], sender, seconds=0.5)
        push_all(sink, kv_of(pool))
        with pytest.raises(Refused) as refused:
            sink.flush()
    assert refused.value.failure.code == "deadline_exceeded"


def answers(to: Holder, header: FrameHeader, payload: bytes) -> list[dict[str, str] | None]:
    """The receiver's answers to a hello and one raw frame."""
    with socket.create_connection((to.ref.address, to.ref.transfer_port), timeout=60) as connection:
        send_json(connection, {"token": TOKEN})
        greeting = receive_json(connection)
        send_json(connection, header.to_json())
        connection.sendall(payload)
        return [greeting, receive_json(connection)]


def frame(payload: bytes, **changes: Any) -> FrameHeader:
    standard: dict[str, Any] = {
        "request_id": "r",
        "incarnation": "d-0-uid",
        "version": 1,
        "layer": 0,
        "pages": (IncomingPage(0, 5, 64),),
        "dtype": "float32",
        "kv_heads": 2,
        "head_dim": 8,
        "crc32": zlib.crc32(payload),
    }
    return FrameHeader(**{**standard, **changes})


@pytest.mark.parametrize("pool", ["float32"], indirect=True)
def test_damage_on_the_way_is_noticed_and_nothing_is_stored(pool: list[Holder]) -> None:
    payload = bytes(64 * 2 * 2 * 8 * 4)
    damaged = b"\x01" + payload[1:]
    pool[0].store.pool.write(0, 5, torch.ones(2, 64, 8), torch.ones(2, 64, 8))
    before = pool[0].store.pool.read(0, 5, 64)[0].clone()
    greeting, answer = answers(pool[0], frame(payload), damaged)
    assert greeting == {}
    assert answer is not None
    assert answer["code"] == "bad_request"
    assert "crc32" in answer["message"]
    assert torch.equal(pool[0].store.pool.read(0, 5, 64)[0], before)
    assert pool[0].store.metrics.frames_refused.labels("bad_request")._value.get() == 1


@pytest.mark.parametrize("pool", ["float32"], indirect=True)
@pytest.mark.parametrize(
    "changes", [{"dtype": "float16"}, {"kv_heads": 3}, {"pages": ()}, {"pages": (IncomingPage(0, 5, 2**40),)}]
)
def test_a_frame_of_another_form_ends_the_connection(pool: list[Holder], changes: dict[str, object]) -> None:
    payload = bytes(64)
    assert answers(pool[0], frame(payload, **changes), payload) == [{}, None]
