"""A task that waits ends when it is cancelled, also in the very turn of the loop in which what it waits for comes."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from csps_engine.loop.standing import Standing
from csps_engine.metrics import Metrics
from csps_engine.server.crew import Crew
from csps_engine.server.tensor_processes import FollowerHandle


@pytest.mark.parametrize("turns", range(6))
def test_a_wait_for_a_change_ends_when_it_is_cancelled(turns: int) -> None:
    async def play() -> None:
        standing = Standing(Metrics())

        async def watch() -> None:
            while True:
                await standing.wait(0.2)

        watching = asyncio.ensure_future(watch())
        await asyncio.sleep(0.01)
        standing.changed.set()
        await turn_the_loop(turns)
        watching.cancel()
        await asyncio.wait([watching], timeout=30)
        assert watching.cancelled()

    asyncio.run(play())


@pytest.mark.parametrize("turns", range(6))
def test_a_crew_is_closed_while_a_process_says_something(turns: int) -> None:
    ours, theirs = socket.socketpair()

    async def play() -> None:
        crew = Crew([FollowerHandle(1, 0, ours)], 0.4)
        await crew.open()
        say(ready=True)
        await crew.ready()
        await asyncio.sleep(0.01)
        talking = asyncio.ensure_future(talk())
        await turn_the_loop(turns)
        closing = asyncio.ensure_future(crew.close())
        await asyncio.wait([closing], timeout=30)
        talking.cancel()
        assert closing.done()

    async def talk() -> None:
        while True:
            say(alive=True)
            await asyncio.sleep(0.05)

    def say(**document: object) -> None:
        theirs.sendall(json.dumps(document).encode() + b"\n")

    asyncio.run(play())
    assert theirs.recv(1) == b""


async def turn_the_loop(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0)
