"""Payloads by NIXL: the sender writes them into memory that the receiver lent to the connection.

    greeting   sender: {"nixl": {}}; receiver: {"nixl": {"agent", "addresses", "slotBytes"}}
    frame      payload written to some of the lent slots, then the header with {"staged": [slot, …]}
    answer     the slots may be written to again

The library never writes to pages themselves: a page may belong to someone else by the time that a late write arrives,
and only the receiver can tell. So a payload is copied once more, from the lent slots, after the receiver's checks; its
CRC-32 tells when a slot holds anything but what the header speaks of. A receiver that lends nothing gets the payload on
the connection, and so does one whose slots are too few for a frame.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import socket
import threading
import time
import uuid
from collections import deque
from typing import Any

from csps_engine.transfer.errand import Errand
from csps_engine.transfer.frame import TransferBroken, receive_exactly, send_json
from csps_engine.transfer.staging import Staging
from csps_engine.transfer.transport import Document, Inbound, Outbound

SLOT_BYTES = 4 * 2**20
CONNECTION_SLOTS = 4
LANDING_SLOTS = 32
"""Lent to senders, CONNECTION_SLOTS each; further senders use the connection."""
TAKEOFF_SLOTS = 8
POLL_SECONDS = 0.0002
PACKAGES = ("nixl", "nixl_cu13", "nixl_cu12")


class NixlMissing(ValueError):
    """The transport was asked for and its package is not installed."""


class NixlTransport:
    """One agent of the library for the whole process."""

    def __init__(self, name: str) -> None:
        """Raises NixlMissing."""
        api = _api()
        # Unique, for a restarted rank is not the agent that others knew.
        self._agent = api.nixl_agent(f"{name}-{uuid.uuid4()}", api.nixl_agent_config(backends=["UCX"]))
        self._lock = threading.Lock()
        self._landing: Staging | None = None
        self._takeoff: Staging | None = None
        self._remote: dict[str, Any] = {}

    def outbound(self, errand: Errand) -> Outbound:
        return _NixlOutbound(self, errand)

    def inbound(self, greeting: Document) -> Inbound:
        return _NixlInbound(self.landing if "nixl" in greeting else None, self.describe)

    @property
    def landing(self) -> Staging:
        """What others write to."""
        with self._lock:
            self._landing = self._landing or self._registered(LANDING_SLOTS)
            return self._landing

    @property
    def takeoff(self) -> Staging:
        """What this process writes from."""
        with self._lock:
            self._takeoff = self._takeoff or self._registered(TAKEOFF_SLOTS)
            return self._takeoff

    def describe(self) -> str:
        """This agent as others need to know it."""
        with self._lock:
            return base64.b64encode(self._agent.get_agent_metadata()).decode()

    def meet(self, agent: str) -> Any:
        """The name of another agent that was described so; raises TransferBroken."""
        with self._lock:
            if agent not in self._remote:
                try:
                    self._remote[agent] = self._agent.add_remote_agent(base64.b64decode(agent, validate=True))
                except (binascii.Error, RuntimeError, ValueError) as error:
                    raise TransferBroken(f"the receiver's agent is not understood: {error!r}") from error
            return self._remote[agent]

    def write(self, source: int, target: int, size: int, remote: Any, errand: Errand) -> None:
        """Copy bytes between two addresses and wait for the end; raises TransferBroken or Refused."""
        with self._lock:
            here = self._agent.get_xfer_descs([(source, size, 0)], mem_type="DRAM")
            there = self._agent.get_xfer_descs([(target, size, 0)], mem_type="DRAM")
            handle = self._agent.initialize_xfer("WRITE", here, there, remote, b"")
        try:
            with self._lock:
                state = self._agent.transfer(handle)
            while state == "PROC":
                errand.left()
                time.sleep(POLL_SECONDS)
                with self._lock:
                    state = self._agent.check_xfer_state(handle)
        finally:
            with self._lock:
                self._agent.release_xfer_handle(handle)
        if state != "DONE":
            raise TransferBroken(f"a write of {size} bytes ended as {state}")

    def _registered(self, slots: int) -> Staging:
        staging = Staging(slots, SLOT_BYTES)
        self._agent.register_memory([staging.memory])
        return staging


class _NixlOutbound:
    def __init__(self, transport: NixlTransport, errand: Errand) -> None:
        self._transport = transport
        self._errand = errand
        self._remote: Any = None
        self._addresses: list[int] = []
        self._slot_bytes = SLOT_BYTES
        self._free: list[int] = []
        self._under_way: deque[list[int]] = deque()
        self._source = transport.takeoff.lend(1)

    def offer(self) -> dict[str, Any]:
        return {"nixl": {}} if self._source else {}

    def agreed(self, answer: Document) -> None:
        terms = answer.get("nixl")
        if terms is None:
            return
        try:
            self._addresses = [int(address) for address in terms["addresses"]]
            self._slot_bytes = min(SLOT_BYTES, int(terms["slotBytes"]))
            self._remote = self._transport.meet(str(terms["agent"]))
        except (KeyError, TypeError, ValueError) as error:
            raise TransferBroken(f"malformed answer to the greeting: {error!r}") from error
        self._free = list(range(len(self._addresses)))

    def has_room(self, size: int) -> bool:
        return self._slots_for(size) <= len(self._free) or self._slots_for(size) > len(self._addresses)

    def send(self, connection: socket.socket, header: dict[str, Any], payload: bytes | memoryview) -> None:
        count = self._slots_for(len(payload))
        if count > len(self._free):
            self._under_way.append([])
            send_json(connection, header)
            connection.sendall(payload)
            return
        slots, self._free = self._free[:count], self._free[count:]
        self._under_way.append(slots)
        rest, source = memoryview(payload), self._source[0]
        for slot in slots:
            part, rest = rest[: self._slot_bytes], rest[self._slot_bytes :]
            takeoff = self._transport.takeoff
            takeoff.write(source, part)
            here = takeoff.address(source)
            self._transport.write(here, self._addresses[slot], len(part), self._remote, self._errand)
        send_json(connection, {**header, "staged": slots})

    def answered(self) -> None:
        self._free += self._under_way.popleft()

    def close(self) -> None:
        self._transport.takeoff.take_back(self._source)
        self._source = []

    def _slots_for(self, size: int) -> int:
        return -(-size // self._slot_bytes)


class _NixlInbound:
    def __init__(self, landing: Staging | None, describe: Any) -> None:
        self._landing = landing
        self._describe = describe
        self._lent = landing.lend(CONNECTION_SLOTS) if landing is not None else []

    def answer(self) -> dict[str, Any]:
        if self._landing is None or not self._lent:
            return {}
        addresses = [self._landing.address(slot) for slot in self._lent]
        return {"nixl": {"agent": self._describe(), "addresses": addresses, "slotBytes": self._landing.slot_bytes}}

    def receive(self, connection: socket.socket, header: Document, size: int) -> bytearray:
        staged = header.get("staged")
        if staged is None:
            return receive_exactly(connection, size)
        landing = self._landing
        known = isinstance(staged, list) and all(type(n) is int and 0 <= n < len(self._lent) for n in staged)
        if landing is None or not known or len(staged) != -(-size // landing.slot_bytes):
            raise TransferBroken(f"a payload of {size} bytes is not in slots {staged!r}")
        payload = bytearray()
        for number in staged:
            payload += landing.read(self._lent[number], min(landing.slot_bytes, size - len(payload)))
        return payload

    def close(self) -> None:
        if self._landing is not None:
            self._landing.take_back(self._lent)
        self._lent = []


def _api() -> Any:
    for package in PACKAGES:
        try:
            return importlib.import_module(f"{package}._api")
        except ModuleNotFoundError:
            continue
    raise NixlMissing(f"none of the packages {', '.join(PACKAGES)} is installed")
