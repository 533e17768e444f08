"""A stream that is read while the test does something else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any


class Background:
    """Reads a stream on a thread of its own."""

    def __init__(self, events: Iterator[dict[str, Any]]) -> None:
        self.events: list[dict[str, Any]] = []
        self._source = events
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        self.events.extend(iter(self._source))

    def wait_for_events(self, count: int) -> None:
        until = time.monotonic() + 60
        while len(self.events) < count:
            assert time.monotonic() < until, self.events
            time.sleep(0.01)

    def finish(self, seconds: float) -> list[dict[str, Any]]:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"no end within {seconds} s: {self.events[-2:]}"
        return self.events

    @property
    def tokens(self) -> list[int]:
        """So far, in the order that their indices say."""
        told = [event for event in self.events if event["type"] == "token"]
        assert [event["index"] for event in told] == list(range(1, len(told) + 1))
        return [event["tokenId"] for event in told]
