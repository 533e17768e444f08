"""The transfer port of a holder outlives what befalls it: senders that pause, and a lack of descriptors."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from test_transfer import Holder, holder, kv_of, push_all, sink_for

import csps_engine.transfer.receiver as receiving
from csps_engine.transfer.frame import receive_json, send_json


@pytest.fixture
def holders() -> Iterator[list[Holder]]:
    """Even pages lie on the first."""
    both = [holder(name) for name in ("d-0", "d-1")]
    for rank, one in enumerate(both):
        one.hold((5, 2, 6), rank)
    yield both
    for one in both:
        one.server.close()


def test_a_prompt_may_stand_back_between_two_layers_for_longer_than_a_frame_may_take(
    holders: list[Holder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "IDLE_SECONDS", 1.0)
    kv, sink = kv_of(holders), sink_for(holders)
    push_all(sink, kv[:1])
    time.sleep(2.0)  # shorter ones go before it
    for start in (0, 64):
        sink.write(1, start, *(part[:, start : 64 if start == 0 else None] for part in kv[1]))
    sink.flush()
    assert [one.store.replica.missing_pages("r") for one in holders] == [0, 0]


def test_a_port_that_lacked_descriptors_takes_connections_again(holders: list[Holder]) -> None:
    address = (holders[0].ref.address, holders[0].ref.transfer_port)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A thread that waits for a connection has the descriptor for it: the one after finds none.
    with socket.socket() as first, socket.socket() as second, ExitStack() as taken:
        second.settimeout(60)
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 8, limits[1]))
        try:
            while (spare := _spare()) is not None:
                taken.callback(os.close, spare)
            first.connect(address)
            second.connect(address)
            time.sleep(0.5)  # as a rule it has tried to take the connection by then
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        taken.close()
        send_json(second, {"token": "token"})
        assert receive_json(second) == {}


def _spare() -> int | None:
    try:
        return os.dup(0)
    except OSError:
        return None
