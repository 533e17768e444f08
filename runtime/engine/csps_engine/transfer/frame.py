"""Frames of the transfer port.

    hello   u32 length, JSON {"token"}                       once a connection, sender to receiver
    frame   u32 length, JSON header, payload                 sender to receiver
    answer  u32 length, JSON {} or {"code", "message"}       receiver to sender, one a frame, in order

Pages that prompts share are read on the same port, one layer at a time:

    read    u32 length, JSON {"read": header}
    answer  u32 length, JSON {"crc32"}, payload; or {"code", "message"}

A payload is K then V of one layer: for each listed page in order, [kv_heads, tokens, head_dim] in row-major
order, all pages of K before all pages of V. Pages that move may travel several layers in a frame, one after
another. The payload's CRC-32 is in the header. Numbers are big-endian.
"""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import dataclass
from typing import Any

from csps_engine.scheduler.replica import IncomingPage

MAX_HEADER_BYTES = 4 * 2**20
_LENGTH = struct.Struct(">I")


class TransferBroken(ConnectionError):
    """The other end closed or spoke nonsense; nothing more can be sent on the connection."""


@dataclass(frozen=True, slots=True)
class FrameHeader:
    request_id: str
    incarnation: str
    """Of the rank that should store it: a successor at the same address refuses it."""
    version: int
    """Epoch in which the pages were reserved."""
    layer: int
    pages: tuple[IncomingPage, ...]
    dtype: str
    kv_heads: int
    head_dim: int
    crc32: int
    move_id: str = ""
    """Of pages that are moved between ranks of a pool; empty: the KV of a prompt, pushed by its prefill."""
    layers: int = 1
    """Consecutive, from `layer` on."""

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "requestId": self.request_id,
            "incarnation": self.incarnation,
            "version": self.version,
            "layer": self.layer,
            "pages": [[p.page, p.slot, p.tokens] for p in self.pages],
            "dtype": self.dtype,
            "kvHeads": self.kv_heads,
            "headDim": self.head_dim,
            "crc32": self.crc32,
        }
        if self.layers != 1:
            document["layers"] = self.layers
        return {**document, "moveId": self.move_id} if self.move_id else document


@dataclass(frozen=True, slots=True)
class PageRead:
    """Full pages of one layer that a prefill needs to go on from."""

    request_id: str
    incarnation: str
    version: int
    layer: int
    pages: tuple[IncomingPage, ...]

    def to_json(self) -> dict[str, Any]:
        document = {
            "requestId": self.request_id,
            "incarnation": self.incarnation,
            "version": self.version,
            "layer": self.layer,
            "pages": [[p.page, p.slot, p.tokens] for p in self.pages],
        }
        return {"read": document}


def read_from_json(document: Any) -> PageRead:
    """Raises TransferBroken when a field is missing or of the wrong form."""
    try:
        return PageRead(
            request_id=_text(document["requestId"]),
            incarnation=_text(document["incarnation"]),
            version=_whole(document["version"]),
            layer=_whole(document["layer"]),
            pages=tuple(IncomingPage(_whole(p), _whole(s), _whole(t)) for p, s, t in document["pages"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TransferBroken(f"malformed read: {error!r}") from error


def header_from_json(document: dict[str, Any]) -> FrameHeader:
    """Raises TransferBroken when a field is missing or of the wrong form."""
    try:
        return FrameHeader(
            request_id=_text(document["requestId"]),
            incarnation=_text(document["incarnation"]),
            version=_whole(document["version"]),
            layer=_whole(document["layer"]),
            pages=tuple(IncomingPage(_whole(p), _whole(s), _whole(t)) for p, s, t in document["pages"]),
            dtype=_text(document["dtype"]),
            kv_heads=_whole(document["kvHeads"]),
            head_dim=_whole(document["headDim"]),
            crc32=_whole(document["crc32"]),
            move_id=_text(document.get("moveId", "")),
            layers=_whole(document.get("layers", 1)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TransferBroken(f"malformed frame header: {error!r}") from error


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    value.encode()  # JSON can name half a surrogate pair, which no answer could repeat
    return value


def send_json(connection: socket.socket, document: dict[str, Any]) -> None:
    text = json.dumps(document, separators=(",", ":")).encode()
    connection.sendall(_LENGTH.pack(len(text)) + text)


def receive_json(connection: socket.socket) -> dict[str, Any] | None:
    """One JSON object; None when the other end closed between two. The socket's time-out applies."""
    first = connection.recv(_LENGTH.size)
    if not first:
        return None
    rest = receive_exactly(connection, _LENGTH.size - len(first))
    (length,) = _LENGTH.unpack(first + rest)
    if length > MAX_HEADER_BYTES:
        raise TransferBroken(f"a header of {length} bytes is longer than {MAX_HEADER_BYTES}")
    try:
        document = json.loads(receive_exactly(connection, length))
    except (ValueError, RecursionError) as error:
        raise TransferBroken(f"malformed JSON: {error}") from error
    if not isinstance(document, dict):
        raise TransferBroken("a header must be a JSON object")
    return document


def receive_exactly(connection: socket.socket, count: int) -> bytearray:
    received = bytearray(count)
    view = memoryview(received)
    while view:
        got = connection.recv_into(view)
        if not got:
            raise TransferBroken("the connection closed within a frame")
        view = view[got:]
    return received
