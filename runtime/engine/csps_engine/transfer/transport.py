"""How the payloads of frames travel between two ranks.

Greetings, headers, answers and what prefills read go over one TCP connection whatever the transport, and so do all
checks: whether a frame may be stored is the receiver's decision, made under its lock when the payload is there. What
differs is how the payload gets there.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from csps_engine.transfer.errand import Errand
from csps_engine.transfer.frame import receive_exactly, send_json

Document = Mapping[str, Any]


class Outbound(Protocol):
    """The sending end of one connection. One thread uses it."""

    def offer(self) -> dict[str, Any]:
        """Goes along with the greeting."""
        ...

    def agreed(self, answer: Document) -> None:
        """What the receiver answered to the greeting."""
        ...

    def has_room(self, size: int) -> bool:
        """Whether a payload can go now; if not, it can once frames on their way are answered."""
        ...

    def send(self, connection: socket.socket, header: dict[str, Any], payload: bytes | memoryview) -> None:
        """Send one frame; raises OSError, TransferBroken or Refused."""
        ...

    def answered(self) -> None:
        """The oldest frame on its way was answered."""
        ...

    def close(self) -> None: ...


class Inbound(Protocol):
    """The receiving end of one connection. One thread uses it."""

    def answer(self) -> dict[str, Any]:
        """To the greeting."""
        ...

    def receive(self, connection: socket.socket, header: Document, size: int) -> bytearray:
        """The payload of a frame whose header has come; raises OSError or TransferBroken."""
        ...

    def close(self) -> None: ...


class Transport(Protocol):
    """One a process; any thread."""

    def outbound(self, errand: Errand) -> Outbound: ...

    def inbound(self, greeting: Document) -> Inbound: ...


class _TcpOutbound:
    def offer(self) -> dict[str, Any]:
        return {}

    def agreed(self, answer: Document) -> None:
        """Nothing was offered."""

    def has_room(self, size: int) -> bool:
        return True

    def send(self, connection: socket.socket, header: dict[str, Any], payload: bytes | memoryview) -> None:
        send_json(connection, header)
        connection.sendall(payload)

    def answered(self) -> None:
        """Nothing was kept for it."""

    def close(self) -> None:
        """Nothing is held."""


class _TcpInbound:
    def answer(self) -> dict[str, Any]:
        return {}

    def receive(self, connection: socket.socket, header: Document, size: int) -> bytearray:
        return receive_exactly(connection, size)

    def close(self) -> None:
        """Nothing is held."""


class TcpTransport:
    """Payloads follow their headers on the connection."""

    def outbound(self, errand: Errand) -> Outbound:
        return _TcpOutbound()

    def inbound(self, greeting: Document) -> Inbound:
        return _TcpInbound()


@dataclass(frozen=True, slots=True)
class Access:
    """What a rank needs to send KV to others and to take it."""

    token: str
    transport: Transport = TcpTransport()
