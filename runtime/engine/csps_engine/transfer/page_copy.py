"""Copies pages of a live request to another rank of the pool, while decoding goes on.

Only full pages are copied: nobody writes to them again, so they need no lock. Pages that become full meanwhile follow.
The last, partly filled page is the commit's business.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

from torch import Tensor

from csps_engine.core.plan import PAGE_TOKENS
from csps_engine.kv.pool import KvPool
from csps_engine.scheduler.replica import IncomingPage
from csps_engine.transfer.errand import Errand
from csps_engine.transfer.link import Link, Outgoing
from csps_engine.transfer.transport import Transport

FRAME_BYTES = 2**20
"""Pages and layers travel together up to about this size."""


@dataclass(frozen=True, slots=True)
class CopyRoute:
    """What goes where: page `first_page` + i from slot `sources[i]` here to slot `targets[i]` there."""

    first_page: int
    sources: tuple[int, ...]
    targets: tuple[int, ...]
    bytes_per_second: int
    """0: no limit."""


class PageCopy:
    """One copy, on a thread of its own. `advance` and `stop` never block."""

    def __init__(self, pool: KvPool, errand: Errand, transport: Transport, route: CopyRoute, tokens: int) -> None:
        self._pool = pool
        self._route = route
        self._deadline = errand.deadline
        self._changed = threading.Condition()
        self._full = 0
        self._stopped = False
        self._unacknowledged: deque[tuple[int, int]] = deque()
        """(bytes submitted up to the end of a group of pages, pages up to there)"""
        self._acknowledged_pages = 0
        self._link: Link | None = None
        self._errand = errand
        self._transport = transport
        self.advance(tokens)
        threading.Thread(target=self._run, name=f"copy-{errand.move_id}", daemon=True).start()

    @property
    def copied_pages(self) -> int:
        """Pages that the target has acknowledged in every layer, from the first on."""
        acknowledged = self.copied_bytes
        while self._unacknowledged and self._unacknowledged[0][0] <= acknowledged:
            self._acknowledged_pages = self._unacknowledged.popleft()[1]
        return self._acknowledged_pages

    @property
    def copied_bytes(self) -> int:
        return self._link.acknowledged_bytes if self._link is not None else 0

    @property
    def failed(self) -> bool:
        """The rest will not be copied."""
        return self._link is not None and self._link.failure is not None

    @property
    def why_failed(self) -> str:
        failure = self._link.failure if self._link is not None else None
        return failure.message if failure is not None else ""

    def advance(self, tokens: int) -> None:
        """So many tokens of the request have KV now."""
        full = min(len(self._route.sources), max(0, tokens // PAGE_TOKENS - self._route.first_page))
        with self._changed:
            if full > self._full:
                self._full = full
                self._changed.notify()

    def stop(self) -> None:
        """Nobody needs the rest."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _run(self) -> None:
        done, sent_bytes, began = 0, 0, time.monotonic()
        while (full := self._await_pages(done)) is not None:
            link = self._link = self._link or Link(self._errand, self._transport)
            count = min(full - done, self._pages_at_once())
            sent_bytes += count * self._pool.shape.page_bytes()
            self._unacknowledged.append((sent_bytes, done + count))
            self._send(link, done, count)
            done += count
            rate = self._route.bytes_per_second
            if rate and not self._pause(began + sent_bytes / rate):
                break
        if self._link is not None:
            self._link.finish()

    def _await_pages(self, done: int) -> int | None:
        """How many pages are full, once more than `done` are; None when the copy is over."""
        with self._changed:
            while self._full <= done:
                left = self._deadline - time.monotonic()
                if self._stopped or self.failed or left <= 0 or done == len(self._route.sources):
                    return None
                self._changed.wait(min(1.0, left))
            return None if self._stopped or self.failed else self._full

    def _pause(self, until: float) -> bool:
        """Wait for the rate limit; False when stopped."""
        with self._changed:
            while not self._stopped and (left := min(until, self._deadline) - time.monotonic()) > 0:
                self._changed.wait(left)
            return not self._stopped

    def _pages_at_once(self) -> int:
        if self._route.bytes_per_second:
            return 1
        shape = self._pool.shape
        return max(1, FRAME_BYTES // (shape.token_layer_bytes() * shape.page_tokens))

    def _send(self, link: Link, done: int, count: int) -> None:
        route, span = self._route, range(done, done + count)
        pages = tuple(IncomingPage(route.first_page + i, route.targets[i], PAGE_TOKENS) for i in span)
        shape = self._pool.shape
        at_once = max(1, FRAME_BYTES // (count * shape.token_layer_bytes() * shape.page_tokens))
        for first in range(0, shape.layers, at_once):
            layers = range(first, min(first + at_once, shape.layers))
            parts: list[Tensor] = []
            for layer in layers:
                stored = [self._pool.read(layer, route.sources[i], PAGE_TOKENS) for i in span]
                parts += [part for column in zip(*stored, strict=True) for part in column]
            link.submit(Outgoing(first, pages, tuple(parts), len(layers)))
