"""One connection that pushes KV of one request to one decode rank, from a thread of its own.

Frames are sent ahead of their answers, up to a window, so that the link is busy while acknowledgements travel.
The queue is bounded: when a link cannot keep up, the computing thread waits rather than memory growing.
"""

from __future__ import annotations

import logging
import queue
import socket
import threading
import zlib
from collections import deque
from contextlib import closing
from dataclasses import dataclass

from torch import Tensor

from csps_engine.refusal import Refused
from csps_engine.scheduler.replica import IncomingPage
from csps_engine.transfer.errand import Errand, connect, failure_of, read_answer
from csps_engine.transfer.frame import FrameHeader, TransferBroken
from csps_engine.transfer.payload import packed
from csps_engine.transfer.transport import Outbound, Transport
from csps_engine.wire.generated import Failure

log = logging.getLogger(__name__)

WINDOW_FRAMES = 8
QUEUE_FRAMES = 64


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Pages of one or more layers for one holder."""

    layer: int
    pages: tuple[IncomingPage, ...]
    parts: tuple[Tensor, ...]
    """[kv_heads, tokens, head_dim] each, in the order of a frame's payload."""
    layers: int = 1


class Link:
    """Made by one thread, which submits, finishes and polls."""

    def __init__(self, errand: Errand, transport: Transport) -> None:
        self._errand = errand
        self._transport = transport
        self._queue: queue.Queue[Outgoing | None] = queue.Queue(QUEUE_FRAMES)
        self._unanswered: deque[int] = deque()
        self._done = threading.Event()
        self.failure: Failure | None = None
        """Why the push failed; set at the latest when `done` is."""
        self.acknowledged_bytes = 0
        threading.Thread(target=self._run, name=f"push-{errand.holder.rank_id}", daemon=True).start()

    def submit(self, frame: Outgoing) -> None:
        """Queue a frame; one of a failed link is dropped, for `failure` tells already."""
        self._put(frame)

    def finish(self) -> None:
        """Say that no more frames come."""
        self._put(None)

    def wait(self, seconds: float) -> bool:
        """Whether the link is done (all acknowledged, or failed) after at most `seconds`."""
        return self._done.wait(max(0.0, seconds))

    def _put(self, item: Outgoing | None) -> None:
        while not self._done.is_set():
            try:
                self._queue.put(item, timeout=0.2)
            except queue.Full:
                continue
            return

    def _run(self) -> None:
        try:
            outbound = self._transport.outbound(self._errand)
            with closing(outbound):
                connection, answer = connect(self._errand, offer=outbound.offer())
                with connection:
                    outbound.agreed(answer)
                    self._push_all(connection, outbound)
        except Exception as error:
            # Of whatever kind: a link that ends without a failure has pushed everything.
            if not isinstance(error, (OSError, TransferBroken, Refused, queue.Empty)):
                log.exception("pushing KV to %s failed", self._errand.holder.rank_id)
            self.failure = failure_of(error, self._errand, "KV could not be pushed to")
        finally:
            self._done.set()

    def _push_all(self, connection: socket.socket, outbound: Outbound) -> None:
        while (frame := self._next(connection, outbound)) is not None:
            self._send(connection, outbound, frame)
            if len(self._unanswered) >= WINDOW_FRAMES:
                self._acknowledge(connection, outbound)
        while self._unanswered:
            self._acknowledge(connection, outbound)

    def _next(self, connection: socket.socket, outbound: Outbound) -> Outgoing | None:
        """The next frame; answers are read while none is queued, so a refusal shows early."""
        while self._unanswered and self._queue.empty():
            self._acknowledge(connection, outbound)
        return self._queue.get(timeout=self._errand.left())

    def _send(self, connection: socket.socket, outbound: Outbound, frame: Outgoing) -> None:
        errand, shape = self._errand, self._errand.shape
        payload = packed(frame.parts)
        header = FrameHeader(
            request_id=errand.request_id,
            incarnation=errand.holder.incarnation,
            version=errand.version,
            layer=frame.layer,
            pages=frame.pages,
            dtype=shape.dtype,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            crc32=zlib.crc32(payload),
            move_id=errand.move_id,
            layers=frame.layers,
        )
        while self._unanswered and not outbound.has_room(len(payload)):
            self._acknowledge(connection, outbound)
        connection.settimeout(errand.left())
        outbound.send(connection, header.to_json(), payload)
        self._unanswered.append(len(payload))

    def _acknowledge(self, connection: socket.socket, outbound: Outbound) -> None:
        read_answer(connection, self._errand)
        outbound.answered()
        self.acknowledged_bytes += self._unanswered.popleft()
