"""The engine thread between two epochs: hosts that are gone or hang, and faults of its own."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from csps_engine.comm.mesh import Mesh
from csps_engine.loop.engine import EngineThread, EngineTimes
from csps_engine.loop.epoch_work import Epoch
from csps_engine.loop.rendezvous import host_store
from csps_engine.metrics import Metrics
from csps_engine.scheduler.ticks import Tick
from csps_engine.wire.generated import EpochProposal, RankRef

ME, HOST = (
    RankRef(rank_id=f"p-{n}", incarnation=f"i{n}", address="127.0.0.1", control_port=1, transfer_port=2) for n in (1, 0)
)


class _Work:
    """Of a rank that has nothing to do."""

    def __init__(self, fault: Exception | None = None) -> None:
        self._fault = fault

    def start_epoch(self, epoch: Epoch, mesh: Mesh) -> None:
        """There is nothing to prepare."""

    def next_tick(self) -> Tick | None:
        return None

    def next_due(self) -> float | None:
        return None

    def execute(self, tick: Tick) -> None:
        """There is nothing to do."""

    def end_epoch(self, reason: str) -> None:
        if self._fault is not None:
            raise self._fault


class _Told:
    def __init__(self) -> None:
        self.formed: list[int] = []
        self.ended: list[tuple[int, str]] = []


@contextmanager
def engine(form: float, fault: Exception | None = None) -> Iterator[tuple[EngineThread, _Told]]:
    told = _Told()
    thread = EngineThread(
        _Work(fault),
        EngineTimes(heartbeat=0.05, collective=5.0, form=form),
        "cpu",
        Metrics(),
        on_formed=lambda epoch: told.formed.append(epoch.number),
        on_ended=lambda epoch, reason, _: told.ended.append((epoch.number, reason)),
    )
    thread.start()
    try:
        yield thread, told
    finally:
        thread.stop(10)


def followed(number: int, port: int) -> Epoch:
    """An epoch that another rank hosts."""
    return Epoch(_proposal(number, port, [HOST, ME]), 1)


def alone(number: int, store: Any) -> Epoch:
    return Epoch(_proposal(number, store.port, [ME]), 0)


def _proposal(number: int, port: int, members: list[RankRef]) -> EpochProposal:
    return EpochProposal(
        group="p",
        epoch=number,
        fence=1,
        generation=1,
        coordinator=members[0],
        members=members,
        store_host="127.0.0.1",
        store_port=port,
    )


def until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.01)


def test_an_epoch_whose_host_is_gone_ends_without_its_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with engine(form=90) as (thread, told):
        thread.assign(followed(1, port))
        until(lambda: bool(told.ended), 45)
    number, reason = told.ended[0]
    assert number == 1
    assert "is gone" in reason


def test_an_epoch_whose_host_hangs_ends_with_its_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, engine(form=0.5) as (thread, told):
        thread.assign(followed(1, listener.getsockname()[1]))
        until(lambda: bool(told.ended), 60)
    assert "did not answer in time" in told.ended[0][1]


def test_a_newer_epoch_does_not_wait_for_the_hung_host_of_an_older_one() -> None:
    store = host_store("127.0.0.1", timedelta(seconds=60))
    with socket.create_server(("127.0.0.1", 0)) as listener, engine(form=90) as (thread, told):
        thread.assign(followed(1, listener.getsockname()[1]))
        time.sleep(0.2)  # as a rule it waits for the host by then
        thread.assign(alone(2, store), store)
        until(lambda: told.formed == [2], 45)


def test_a_thread_that_ended_by_a_fault_counts_as_one_that_hangs_and_its_epoch_as_over() -> None:
    store = host_store("127.0.0.1", timedelta(seconds=60))
    with engine(form=60, fault=KeyError("book")) as (thread, told):
        thread.assign(alone(1, store), store)
        until(lambda: told.formed == [1], 60)
        assert not thread.stalled
        thread.break_off()
        until(lambda: thread.stalled, 60)
    assert [number for number, _ in told.ended] == [1]
