"""The transfer port under frames that nobody should send: an answer or an end, never a crash or a write."""

from __future__ import annotations

import json
import socket
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from free_ports import free_ports
from hypothesis import example, given, settings
from hypothesis import strategies as st
from json_damage import damaged

from csps_engine.core.kvshape import KvShape
from csps_engine.core.plan import Place
from csps_engine.kv.pool import KvPool
from csps_engine.metrics import Metrics
from csps_engine.scheduler.replica import Replica
from csps_engine.scheduler.ticks import Holding, Tick
from csps_engine.transfer.receiver import PageStore, TransferServer
from csps_engine.transfer.transport import Access

DEADLINE_SECONDS = 60.0
HELLO = b'{"token":"token"}'
PAYLOAD = bytes(range(256)) * 32  # one page: 64 tokens, K and V of 2 heads of 8 floats
HEADER: dict[str, Any] = {
    "requestId": "r",
    "incarnation": "uid",
    "version": 1,
    "layer": 0,
    "pages": [[0, 5, 64]],
    "dtype": "float32",
    "kvHeads": 2,
    "headDim": 8,
    "crc32": zlib.crc32(PAYLOAD),
}

# A connection's thread that ends by an exception is a crash.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")


@dataclass
class Port:
    """A receiver that holds one page of request r, in slot 5 of a pool of zeros."""

    number: int
    pool: KvPool

    def send(self, *parts: bytes) -> list[dict[str, Any]]:
        """Raw bytes on a connection of their own; the answers until the receiver ends it, which may lose the last."""
        answers: list[dict[str, Any]] = []
        connection = socket.create_connection(("127.0.0.1", self.number), timeout=DEADLINE_SECONDS)
        # The receiver may have ended it already; a time-out is a hang and fails.
        ended = suppress(BrokenPipeError, ConnectionResetError)
        with connection, connection.makefile("rb") as stream, ended:
            connection.sendall(b"".join(parts))
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            while head := stream.read(4):
                answers.append(json.loads(stream.read(struct.unpack(">I", head)[0])))
        return answers

    def written(self) -> set[int]:
        """Slots that hold anything."""
        stored = [part != 0 for layer in range(2) for part in self.pool.pages(layer)]
        return {slot for part in stored for slot in part.any(-1).any(-1).any(0).nonzero().flatten().tolist()}


def framed(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text


@pytest.fixture(scope="module")
def port() -> Iterator[Port]:
    pool = KvPool(KvShape(layers=2, kv_heads=2, head_dim=8, dtype="float32"), 8)
    for layer in range(2):
        pool.write(layer, 0, torch.zeros(2, 512, 8), torch.zeros(2, 512, 8))
    replica = Replica(2)
    replica.apply(Tick("idle", held=(Holding("r", 1, 64, 0, (Place(0, 5),)),)), 0)
    number = free_ports()
    server = TransferServer("127.0.0.1", number, Access("token"), PageStore("uid", replica, pool, Metrics()))
    yield Port(number, pool)
    server.close()


def still_serves(port: Port) -> None:
    """Asked of a connection of its own: a valid frame is taken, and only its slot was ever written."""
    assert port.send(framed(HELLO), framed(json.dumps(HEADER).encode()), PAYLOAD) == [{}, {}]
    assert port.written() <= {5}


@settings(max_examples=120)
@given(header=damaged(HEADER))
@example(header=json.dumps({**HEADER, "layer": 10**9}).encode())
@example(header=json.dumps({**HEADER, "layer": -1}).encode())
@example(header=json.dumps({**HEADER, "layer": 0.5}).encode())
@example(header=json.dumps(HEADER).replace('"layer": 0', '"layer": 1e999').encode())
@example(header=json.dumps({**HEADER, "requestId": "\ud800"}).encode())
@example(header=json.dumps({**HEADER, "incarnation": "\ud800"}).encode())
@example(header=json.dumps({**HEADER, "pages": [[0, 5, 32], [0, 5, 32]]}).encode())
@example(header=json.dumps({**HEADER, "pages": "abc"}).encode())
@example(header=b"[" * 200_000)
def test_a_damaged_frame_gets_one_refusal_or_ends_the_connection(port: Port, header: bytes) -> None:
    answers = port.send(framed(HELLO), framed(header), PAYLOAD)
    assert answers[:1] in ([], [{}])
    assert len(answers) <= 2
    if answers[1:] and answers[1] != {}:
        assert answers[1]["code"] in ("bad_request", "unknown_request", "stale_epoch", "wrong_incarnation")
        assert answers[1]["message"]
    still_serves(port)


@settings(max_examples=40)
@given(hello=damaged({"token": "token"}))
@example(hello=b'{"token":"\\ud800"}')
@example(hello=b"[" * 200_000)
def test_a_damaged_hello_is_refused_or_ends_the_connection(port: Port, hello: bytes) -> None:
    answers = port.send(framed(hello))
    assert [answer.get("code") for answer in answers] in ([], ["unauthorized"])
    still_serves(port)


@settings(max_examples=40)
@given(cut=st.integers(1, 2**14))
def test_a_frame_cut_short_anywhere_stores_nothing_and_ends_the_connection(port: Port, cut: int) -> None:
    whole = b"".join((framed(HELLO), framed(json.dumps({**HEADER, "layer": 1}).encode()), PAYLOAD))
    answers = port.send(whole[: min(cut, len(whole) - 1)])
    assert answers in ([], [{}])
    assert not (port.pool.pages(1)[0] != 0).any()
    still_serves(port)


@settings(max_examples=20)
@given(length=st.sampled_from([4 * 2**20 + 1, 2**31, 2**32 - 1]))
def test_a_length_beyond_bounds_takes_no_memory(port: Port, length: int) -> None:
    assert port.send(framed(HELLO), struct.pack(">I", length)) in ([], [{}])
    still_serves(port)
