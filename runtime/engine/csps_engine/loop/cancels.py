"""Ends requests whose clients have left, wherever they are coordinated by now.

A cancel may reach a rank that coordinates nothing: the caller's view is a second old, or the coordinator leaves just
now and hands its pool over. Such a rank passes it on, and goes on doing so until a rank that coordinates a serving
epoch has taken it, for between two epochs nobody could.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from csps_engine.loop.peers import Peers
from csps_engine.loop.relay import FindCoordinator
from csps_engine.loop.request_tasks import RequestTasks
from csps_engine.refusal import Refused

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.1
LOOK_SECONDS = 15.0
"""Where nobody coordinates for so long, ranks give up their requests themselves."""

CancelHere = Callable[[str], Awaitable[bool]]
"""False: this rank does not coordinate now, so that another one may know the request."""


class Cancels:
    """Lives on the event loop."""

    def __init__(self, here: CancelHere, find: FindCoordinator, peers: Peers) -> None:
        self._here = here
        self._find = find
        self._peers = peers
        self._tasks = RequestTasks()

    @property
    def busy(self) -> bool:
        return self._tasks.busy

    def under_way(self, request_id: str) -> bool:
        """No coordinator has taken it yet, or what it did is not told yet."""
        return self._tasks.of(request_id) is not None

    def begin(self, request_id: str) -> asyncio.Task[None]:
        """See that the request ends; the task is over once a coordinator has taken it, or nobody could be found."""
        return self._tasks.of(request_id) or self._tasks.start(request_id, self._end(request_id))

    async def close(self) -> None:
        await self._tasks.close()

    async def _end(self, request_id: str) -> None:
        until = time.monotonic() + LOOK_SECONDS
        while not await self._here(request_id):
            coordinator = await self._find()
            try:
                if coordinator is not None:
                    await self._peers.cancel(coordinator, request_id)
                    return
            except Refused as refused:
                log.info("the cancel of %s is not passed on yet: %s", request_id, refused)
            if time.monotonic() > until:
                log.warning("nobody coordinates the group, so the cancel of %s is given up", request_id)
                return
            await asyncio.sleep(RETRY_SECONDS)
