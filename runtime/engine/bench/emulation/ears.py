"""Lines of JSON from processes, none of which is lost in a buffer while another process is waited for."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
from collections import deque
from typing import Any

CHUNK_BYTES = 1 << 16


class Ear:
    """What one process says on its stdout, a pipe that nobody else reads."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.descriptor = process.stdout.fileno()
        self.heard: deque[dict[str, Any]] = deque()
        self._begun = b""

    def listen(self) -> bool:
        """Take in what is there, waiting until something is; False at the end."""
        chunk = os.read(self.descriptor, CHUNK_BYTES)
        *lines, self._begun = (self._begun + chunk).split(b"\n")
        self.heard.extend(json.loads(line) for line in lines)
        return bool(chunk)


def wait_for_any(ears: list[Ear], timeout_s: float) -> list[int]:
    """Numbers of the ears that have something to listen to, once any has; none after the time."""
    with selectors.DefaultSelector() as ready:
        for number, ear in enumerate(ears):
            ready.register(ear.descriptor, selectors.EVENT_READ, number)
        return [key.data for key, _ in ready.select(max(0.0, timeout_s))]
