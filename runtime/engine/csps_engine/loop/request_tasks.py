"""Tasks on the event loop, one a request, from their start until they end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from typing import Any

log = logging.getLogger(__name__)


class RequestTasks:
    """Lives on the event loop."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def busy(self) -> bool:
        return bool(self._tasks)

    def of(self, request_id: str) -> asyncio.Task[None] | None:
        """What is under way for the request."""
        return self._tasks.get(request_id)

    def start(self, request_id: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._tasks[request_id] = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(partial(self._forget, request_id))
        return task

    async def close(self) -> None:
        """Cancel what is under way, and wait until it has ended."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, request_id: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(request_id) is task:
            del self._tasks[request_id]
        if not task.cancelled() and task.exception() is not None:
            log.error("what was under way for %s failed", request_id, exc_info=task.exception())
