"""Process 0's side of the processes that a rank is: it tells them of epochs, and ends with the first that is lost.

    to a follower     {"epoch": proposal, "rank": number in the mesh}
    from a follower   {"failed": why} or {"ready": true} once, then {"alive": true} every heartbeat

A follower whose engine thread hangs says nothing more. One that ended, or was silent for longer than a collective may
last, can't be replaced: every epoch would wait for it. So the rank ends, and its pod starts anew.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from csps_engine.loop.epoch_work import Epoch
from csps_engine.loop.seat import Seat
from csps_engine.server.tensor_processes import FollowerHandle

log = logging.getLogger(__name__)


class ProcessFailed(RuntimeError):
    """A process of this rank could not load its shard, ended, or hangs."""


class Crew:
    """Made on the event loop; lives there, but for `assigned`."""

    def __init__(self, followers: Sequence[FollowerHandle], silence_seconds: float) -> None:
        self._followers = followers
        self._silence_seconds = silence_seconds
        self._loop = asyncio.get_running_loop()
        self._writers: list[asyncio.StreamWriter] = []
        self._ready = [self._loop.create_future() for _ in followers]
        self._lost: asyncio.Future[str] = self._loop.create_future()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def size(self) -> int:
        return len(self._followers)

    async def open(self) -> None:
        """Listen to every follower from now on."""
        for number, follower in enumerate(self._followers):
            reader, writer = await asyncio.open_unix_connection(sock=follower.connection)
            self._writers.append(writer)
            self._tasks.append(self._loop.create_task(self._listen(number, reader)))

    async def ready(self) -> None:
        """Until every follower holds its shard; raises ProcessFailed with the first reason why one doesn't."""
        await asyncio.gather(*self._ready)

    async def lost(self) -> str:
        """Why the rank must end, once a follower is lost. Never returns while all are well."""
        return await asyncio.shield(self._lost)

    def assigned(self, epoch: Epoch) -> None:
        """Let every follower join an epoch. Any thread."""
        document = {"epoch": epoch.proposal.to_wire(), "rank": epoch.rank}
        self._loop.call_soon_threadsafe(self._tell, json.dumps(document).encode() + b"\n")

    async def close(self) -> None:
        """The followers end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
        for future in self._ready:
            # Nobody may be waiting for it any more.
            if future.done() and not future.cancelled():
                future.exception()

    def _tell(self, line: bytes) -> None:
        for writer in self._writers:
            writer.write(line)

    async def _listen(self, number: int, reader: asyncio.StreamReader) -> None:
        follower, ready = self._followers[number], self._ready[number]
        who = f"process {follower.tensor_rank} of this rank"
        why = "ended"
        try:
            while line := await self._line(reader, ready.done()):
                self._hear(json.loads(line), who, ready)
        except TimeoutError:
            why = f"said nothing for {self._silence_seconds:.0f} s"
        except ConnectionError as error:
            log.info("the connection to %s broke: %r", who, error)
        except ValueError as error:
            # As of one that ended within a line.
            why = f"said what is not understood: {error}"
        if not ready.done():
            ready.set_exception(ProcessFailed(f"{who} {why}"))
        if not self._lost.done():
            self._lost.set_result(f"{who} {why}")

    async def _line(self, reader: asyncio.StreamReader, ready: bool) -> bytes:
        """What a follower says next; empty when it ended. Raises TimeoutError when it has been silent for too long."""
        if not ready:
            # Loading takes as long as it takes.
            return await reader.readline()
        # In two halves: if this process itself was stopped, the first may end although there is something to read.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._silence_seconds / 2):
                return await reader.readline()
        async with asyncio.timeout(self._silence_seconds / 2):
            return await reader.readline()

    @staticmethod
    def _hear(said: dict[str, Any], who: str, ready: asyncio.Future[None]) -> None:
        if ready.done():
            return
        if "failed" in said:
            ready.set_exception(ProcessFailed(f"{who}: {said['failed']}"))
        else:
            ready.set_result(None)


class LeadSeat(Seat):
    """Process 0 of a rank, with the crew that follows it."""

    def __init__(self, crew: Crew) -> None:
        super().__init__(0, crew.size + 1)
        self._crew = crew

    def assigned(self, epoch: Epoch) -> None:
        self._crew.assigned(epoch)
