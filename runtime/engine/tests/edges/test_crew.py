"""Process 0 of a rank and what it hears from those that follow it."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable

import pytest

from csps_engine.loop.epoch_work import Epoch
from csps_engine.server.crew import Crew, ProcessFailed
from csps_engine.server.tensor_processes import FollowerHandle
from csps_engine.wire.generated import EpochProposal, RankRef

MEMBER = RankRef(rank_id="p-0", incarnation="i", address="127.0.0.1", control_port=1, transfer_port=2)
PROPOSAL = EpochProposal(
    group="p", epoch=7, fence=1, generation=1, coordinator=MEMBER, members=[MEMBER], store_host="h", store_port=3
)
SILENCE = 0.4


def with_crew(play: Callable[[Crew, list[socket.socket]], Awaitable[None]], size: int = 2) -> None:
    """Plays with the far ends of a crew's connections, in the order of its processes."""
    pairs = [socket.socketpair() for _ in range(size)]

    async def run() -> None:
        crew = Crew([FollowerHandle(n + 1, 0, ours) for n, (ours, _) in enumerate(pairs)], SILENCE)
        await crew.open()
        await asyncio.wait_for(play(crew, [theirs for _, theirs in pairs]), 60)
        await crew.close()

    asyncio.run(run())
    assert all(theirs.recv(1 << 16) is not None for _, theirs in pairs)


def say(connection: socket.socket, **document: object) -> None:
    connection.sendall(json.dumps(document).encode() + b"\n")


def stop_everything(seconds: float) -> None:
    """As a stopped process: the event loop sees nothing meanwhile."""
    time.sleep(seconds)


def test_a_rank_is_ready_once_every_process_is_and_tells_each_of_epochs() -> None:
    async def play(crew: Crew, followers: list[socket.socket]) -> None:
        ready = asyncio.ensure_future(crew.ready())
        say(followers[0], ready=True)
        await asyncio.sleep(0.05)
        assert not ready.done()
        say(followers[1], ready=True)
        await ready
        crew.assigned(Epoch(PROPOSAL, 0))
        for follower in followers:
            told = json.loads(await asyncio.to_thread(follower.recv, 1 << 16))
            assert (EpochProposal.model_validate(told["epoch"]), told["rank"]) == (PROPOSAL, 0)

    with_crew(play)


def test_the_first_shard_that_cannot_be_loaded_is_the_reason() -> None:
    async def play(crew: Crew, followers: list[socket.socket]) -> None:
        say(followers[1], failed="no such tensor")
        with pytest.raises(ProcessFailed, match="process 2 of this rank: no such tensor"):
            await crew.ready()

    with_crew(play)


def test_a_process_that_ends_is_lost_at_once() -> None:
    async def play(crew: Crew, followers: list[socket.socket]) -> None:
        say(followers[0], ready=True)
        followers[1].shutdown(socket.SHUT_RDWR)
        assert await crew.lost() == "process 2 of this rank ended"
        with pytest.raises(ProcessFailed, match="process 2 of this rank ended"):
            await crew.ready()

    with_crew(play)


def test_a_ready_process_that_says_nothing_is_lost_and_one_that_loads_is_not() -> None:
    async def play(crew: Crew, followers: list[socket.socket]) -> None:
        lost = asyncio.ensure_future(crew.lost())
        await asyncio.sleep(2 * SILENCE)
        assert not lost.done()
        say(followers[0], ready=True)
        assert (await lost).startswith("process 1 of this rank said nothing")

    with_crew(play)


def test_a_process_that_was_heard_is_not_lost_because_process_0_was_stopped() -> None:
    async def play(crew: Crew, followers: list[socket.socket]) -> None:
        say(followers[0], ready=True)
        await crew.ready()
        lost = asyncio.ensure_future(crew.lost())
        await asyncio.sleep(0.05)
        say(followers[0], alive=True)
        stop_everything(2 * SILENCE)
        for _ in range(4):
            # What it said before is looked at first, and a machine that is busy now is no silence of it either.
            say(followers[0], alive=True)
            await asyncio.sleep(SILENCE / 8)
            assert not lost.done()

    with_crew(play, size=1)


@pytest.mark.parametrize("said", [b'{"alive": tr', b"no words\n", b"x" * 100_000])
def test_a_process_that_ends_within_a_line_or_says_what_nobody_understands_is_lost(said: bytes) -> None:
    async def play(crew: Crew, followers: list[socket.socket]) -> None:
        say(followers[0], ready=True)
        await crew.ready()
        followers[0].sendall(said)
        if said.startswith(b"{"):
            followers[0].shutdown(socket.SHUT_RDWR)
        assert (await crew.lost()).startswith("process 1 of this rank said what is not understood")

    with_crew(play, size=1)
