"""Event streams of requests: written by the engine thread, read by any number of HTTP responses.

A stream keeps its events, so that a client that asks again with the same request id sees all of them. Ended
streams are forgotten after a while, and as soon as another attempt begins under their id.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

from csps_engine.refusal import refuse
from csps_engine.scheduler.request import DecodeOrder
from csps_engine.wire.generated import WireMessage

KEPT_SECONDS = 60.0


@dataclass(slots=True)
class EventStream:
    """NDJSON lines of one request."""

    about: Hashable
    """What was asked: the same id with something else is another request."""
    lines: list[bytes] = field(default_factory=list)
    ended_at: float | None = None
    followers: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def failed(self) -> bool:
        """Ended with an error, so that asking again may succeed."""
        return self.ended_at is not None and bool(self.lines) and b'"type":"error"' in self.lines[-1]

    @property
    def cancelled(self) -> bool:
        """Ended because somebody wished so, before its answer was over."""
        return self.ended_at is not None and bool(self.lines) and b'"reason":"cancelled"' in self.lines[-1]

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Somebody wants it, from the decision to follow it on: whoever else leaves meanwhile doesn't end it."""
        self.followers += 1
        try:
            yield
        finally:
            self.followers -= 1

    async def follow(self) -> AsyncGenerator[bytes, None]:
        """Every line from the first on, until the stream ends; within `followed`."""
        at = 0
        while True:
            while at < len(self.lines):
                line = self.lines[at]
                at += 1
                yield line
            if self.ended_at is not None:
                return
            self.changed.clear()
            await self.changed.wait()


def decode_identity(prompt_tokens: int, order: DecodeOrder) -> Hashable:
    """What makes two decodes of one request id the same."""
    return (prompt_tokens, order.first_token, order.max_new_tokens)


class EventBoard:
    """Streams by request id. Lives on the event loop; `post` may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._streams: dict[str, EventStream] = {}

    def running(self, request_id: str, about: Hashable) -> EventStream | None:
        """The stream of the same request that is not over; raises Refused when that id asks for something else."""
        stream = self._streams.get(request_id)
        if stream is None or stream.ended_at is not None:
            return None
        if stream.about != about:
            raise refuse("bad_request", f"requestId: {request_id} is under way with other content")
        return stream

    def done(self, request_id: str, about: Hashable) -> EventStream | None:
        """The stream of the same request that ended well."""
        stream = self._streams.get(request_id)
        ended = stream is not None and stream.ended_at is not None and not stream.failed
        return stream if stream is not None and ended and stream.about == about else None

    def forget(self, request_id: str) -> None:
        """An ended stream of it is told to nobody who asks from now on: another attempt begins under its id."""
        stream = self._streams.get(request_id)
        if stream is not None and stream.ended_at is not None:
            del self._streams[request_id]

    def open(self, request_id: str, about: Hashable) -> EventStream:
        """A fresh stream; an ended one of the same id is forgotten."""
        self._forget_old()
        stream = self._streams[request_id] = EventStream(about)
        return stream

    def open_from(self, request_id: str, about: Hashable) -> None:
        """As `open`, from any thread and before the events that are posted later."""
        self._loop.call_soon_threadsafe(self.open, request_id, about)

    def relay(self, request_id: str, line: bytes) -> bool:
        """Append a line that another rank wrote, or that ends it; False when the stream is over."""
        stream = self._streams.get(request_id)
        if stream is None or stream.ended_at is not None:
            return False
        stream.lines.append(line)
        if b'"type":"done"' in line or b'"type":"error"' in line:
            stream.ended_at = monotonic()
        stream.changed.set()
        return stream.ended_at is None

    def unfollowed(self, request_id: str) -> bool:
        """A stream under way that nobody reads."""
        stream = self._streams.get(request_id)
        return stream is not None and stream.ended_at is None and not stream.followers

    def post(self, events: Sequence[tuple[str, WireMessage]]) -> None:
        """Append events, in order. `done` and `error` end a stream; an unknown stream's events are dropped."""
        if events:
            self._loop.call_soon_threadsafe(self._append, [(r, e, e.to_json() + b"\n") for r, e in events])

    def _append(self, events: Sequence[tuple[str, WireMessage, bytes]]) -> None:
        for request_id, event, line in events:
            stream = self._streams.get(request_id)
            if stream is None or stream.ended_at is not None:
                continue
            stream.lines.append(line)
            if getattr(event, "type", "") in ("done", "error"):
                stream.ended_at = monotonic()
            stream.changed.set()

    def _forget_old(self) -> None:
        old = monotonic() - KEPT_SECONDS
        for request_id, stream in list(self._streams.items()):
            if stream.ended_at is not None and stream.ended_at < old and not stream.followers:
                del self._streams[request_id]
