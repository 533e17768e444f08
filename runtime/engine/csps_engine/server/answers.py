"""Answers that stream, each to whoever follows it; when the last of them leaves, its request is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from aiohttp import web

from csps_engine.loop.cancels import Cancels
from csps_engine.loop.event_board import EventBoard, EventStream
from csps_engine.loop.reports import error_event
from csps_engine.refusal import refuse


class Answers:
    """Lives on the event loop. `cancel` ends a request wherever it is coordinated; its task is over once it has."""

    def __init__(self, board: EventBoard, cancels: Cancels, cancel: Callable[[str], asyncio.Task[None]]) -> None:
        self._board = board
        self._cancels = cancels
        self._cancel = cancel

    def refuse_cancelled(self, request_id: str) -> None:
        """Raises Refused while a cancel is under way: it could end another attempt, and its events pass for those."""
        if self._cancels.under_way(request_id):
            raise refuse("not_ready", f"requestId: {request_id} is being cancelled", 100)

    async def follow(
        self, request: web.Request, request_id: str, stream: EventStream, seconds: float | None = None
    ) -> web.StreamResponse:
        """Stream events; a client that goes away cancels the request, unless another one follows it too."""
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        try:
            # Left before anything is caught: whoever looks below at who follows has to see that this client does not.
            with stream.followed():
                await response.prepare(request)
                async with asyncio.timeout(seconds), aclosing(stream.follow()) as lines:
                    async for line in lines:
                        await response.write(line)
        except TimeoutError:
            await response.write(error_event("deadline_exceeded", "the deadline passed").to_json() + b"\n")
            self._cancel_unfollowed(request_id, stream)
        except (asyncio.CancelledError, ConnectionError):
            self._cancel_unfollowed(request_id, stream)
            raise
        await response.write_eof()
        return response

    def _cancel_unfollowed(self, request_id: str, stream: EventStream) -> None:
        if stream.ended_at is None and not stream.followers:
            self._cancel(request_id).add_done_callback(lambda _: self._forget_cancelled(request_id, stream))

    def _forget_cancelled(self, request_id: str, stream: EventStream) -> None:
        """Nobody who asks later takes what was cut off for an answer."""
        if stream.cancelled and not stream.followers:
            self._board.forget(request_id)
