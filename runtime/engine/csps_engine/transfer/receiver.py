"""The transfer port of a decode rank: takes KV pages, checks them, stores them while their reservation stands."""

from __future__ import annotations

import hmac
import logging
import socket
import threading
import zlib
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from csps_engine.core.kvshape import DTYPE_BYTES
from csps_engine.kv.pool import KvPool
from csps_engine.metrics import Metrics
from csps_engine.refusal import Refused, refuse
from csps_engine.scheduler.replica import Replica
from csps_engine.transfer.frame import (
    FrameHeader,
    PageRead,
    TransferBroken,
    header_from_json,
    read_from_json,
    receive_json,
    send_json,
)
from csps_engine.transfer.payload import raw_bytes
from csps_engine.transfer.transport import Access, Inbound

log = logging.getLogger(__name__)

IDLE_SECONDS = 60.0
"""Within a greeting or a frame."""
PAUSE_SECONDS = 3600.0
"""Between two frames. A prompt stands back for shorter ones, and its sender ends the connection by its own deadline."""
KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 20), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 4))
"""Seconds, seconds and times: so a sender is missed that is gone without a word."""
MAX_PAYLOAD_BYTES = 2**30
ACCEPT_AGAIN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class PageStore:
    """Where received pages go, and by whose word."""

    incarnation: str
    replica: Replica
    pool: KvPool
    metrics: Metrics

    def payload_bytes(self, header: FrameHeader) -> int:
        """Checks the frame's form against the pool's; raises TransferBroken as its length is then unknown."""
        shape = self.pool.shape
        asked = (header.dtype, header.kv_heads, header.head_dim)
        if asked != (shape.dtype, shape.kv_heads, shape.head_dim):
            raise TransferBroken(f"KV of form {asked} does not fit this pool")
        size = sum(page.tokens for page in header.pages) * shape.token_layer_bytes() * header.layers
        if not 0 < size <= MAX_PAYLOAD_BYTES or min(page.tokens for page in header.pages) < 1:
            raise TransferBroken(f"a payload of {size} bytes is out of bounds")
        return size

    def take(self, header: FrameHeader, payload: bytearray) -> None:
        """Store a frame; raises Refused when it may not be stored."""
        if header.incarnation != self.incarnation:
            raise refuse("wrong_incarnation", f"this is incarnation {self.incarnation}")
        if zlib.crc32(payload) != header.crc32:
            raise refuse("bad_request", "crc32: the payload was damaged on its way")
        layers = range(header.layer, header.layer + header.layers)
        if header.move_id:
            self.replica.write_moved(header.move_id, layers, header.pages, lambda: self._store(header, payload))
        elif len(layers) > 1:
            raise refuse("bad_request", f"layers: {len(layers)} at once are only taken of pages that move")
        else:
            self.replica.write(
                header.request_id, header.version, header.layer, header.pages, lambda: self._store(header, payload)
            )
        self.metrics.kv_received.inc(len(payload))

    def give(self, read: PageRead) -> bytes:
        """Pages that the request shares, as a frame's payload; raises Refused when they may not be read."""
        if read.incarnation != self.incarnation:
            raise refuse("wrong_incarnation", f"this is incarnation {self.incarnation}")
        stored: list[tuple[Tensor, Tensor]] = []

        def copy() -> None:
            stored.extend(self.pool.read(read.layer, page.slot, page.tokens) for page in read.pages)
            stored[:] = [(k.clone(), v.clone()) for k, v in stored]

        self.replica.read(read.request_id, read.version, read.layer, read.pages, copy)
        payload = b"".join(raw_bytes(part) for column in zip(*stored, strict=True) for part in column)
        self.metrics.kv_read.inc(len(payload))
        return payload

    def _store(self, header: FrameHeader, payload: bytearray) -> None:
        flat = torch.frombuffer(payload, dtype=getattr(torch, header.dtype))
        halves = flat.split(len(payload) // (2 * header.layers) // DTYPE_BYTES[header.dtype])
        for offset in range(header.layers):
            keys, values = halves[2 * offset : 2 * offset + 2]
            at = 0
            for page in header.pages:
                size = page.tokens * header.kv_heads * header.head_dim
                shape = (header.kv_heads, page.tokens, header.head_dim)
                k, v = _view(keys, at, size, shape), _view(values, at, size, shape)
                self.pool.write(header.layer + offset, page.slot, k, v)
                at += size


class TransferServer:
    """Accepts connections; a daemon thread each."""

    def __init__(self, host: str, port: int, access: Access, store: PageStore) -> None:
        self._access = access
        self._store = store
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=128)
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        threading.Thread(target=self._accept, name="transfer-accept", daemon=True).start()

    def close(self) -> None:
        """Stop accepting and end every connection."""
        self._closed.set()
        # A blocked accept() keeps the socket alive until it is shut down.
        _shut(self._listener)
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            _shut(connection)

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                connection, peer = self._listener.accept()
            except OSError as error:
                self._wait_a_little(error)
                continue
            with self._lock:
                self._connections.add(connection)
            try:
                threading.Thread(target=self._serve, args=(connection, peer[0]), name="transfer", daemon=True).start()
            except RuntimeError as error:
                self._end(connection)
                self._wait_a_little(error)

    def _wait_a_little(self, error: Exception) -> None:
        """No descriptor or thread is left, say: others become free. Who knocks stands in line meanwhile."""
        if not self._closed.wait(ACCEPT_AGAIN_SECONDS):
            log.warning("the transfer port takes no connection just now: %r", error)

    def _serve(self, connection: socket.socket, peer: str) -> None:
        try:
            connection.settimeout(IDLE_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in KEEP_ALIVE:
                connection.setsockopt(socket.IPPROTO_TCP, option, value)
            with closing(self._access.transport.inbound(self._greet(connection))) as inbound:
                send_json(connection, inbound.answer())
                self._take_frames(connection, inbound)
        except (OSError, TransferBroken) as error:
            log.info("transfer connection from %s ended: %s", peer, error)
        finally:
            self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        _shut(connection)
        with self._lock:
            self._connections.discard(connection)

    def _take_frames(self, connection: socket.socket, inbound: Inbound) -> None:
        while (document := self._next(connection)) is not None:
            if "read" in document:
                self._give(connection, read_from_json(document["read"]))
                continue
            header = header_from_json(document)
            payload = inbound.receive(connection, document, self._store.payload_bytes(header))
            send_json(connection, self._answer(header, payload))

    def _next(self, connection: socket.socket) -> dict[str, Any] | None:
        connection.settimeout(PAUSE_SECONDS)
        document = receive_json(connection)
        connection.settimeout(IDLE_SECONDS)
        return document

    def _greet(self, connection: socket.socket) -> dict[str, Any]:
        """The greeting of someone who may send; raises TransferBroken for others."""
        hello = receive_json(connection) or {}
        if not hmac.compare_digest(str(hello.get("token", "")).encode(errors="replace"), self._access.token.encode()):
            send_json(connection, {"code": "unauthorized", "message": "the transfer token is wrong"})
            raise TransferBroken("wrong token")
        return hello

    def _give(self, connection: socket.socket, read: PageRead) -> None:
        try:
            payload = self._store.give(read)
        except Refused as refused:
            send_json(connection, {"code": refused.failure.code, "message": refused.failure.message})
            return
        send_json(connection, {"crc32": zlib.crc32(payload)})
        connection.sendall(payload)

    def _answer(self, header: FrameHeader, payload: bytearray) -> dict[str, str]:
        try:
            self._store.take(header, payload)
        except Refused as refused:
            self._store.metrics.frames_refused.labels(refused.failure.code).inc()
            return {"code": refused.failure.code, "message": refused.failure.message}
        return {}


def _view(flat: Tensor, at: int, size: int, shape: tuple[int, int, int]) -> Tensor:
    return flat[at : at + size].view(shape)


def _shut(connection: socket.socket) -> None:
    # Shut by the other end already: closing is all that is left.
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
