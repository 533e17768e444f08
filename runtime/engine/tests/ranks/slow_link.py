"""A link to a rank that can be slowed: bytes towards the caller come one by one until it is let go.

KV that is pushed through it is acknowledged as slowly: so long its prompt cannot be done.
"""

from __future__ import annotations

import socket
import threading
from typing import Any

TRICKLE_SECONDS = 0.2
"""Between two bytes: nobody takes it for a silent rank."""


class SlowLink:
    """Listens on loopback in place of a transfer port."""

    def __init__(self, port: int, seconds: float = TRICKLE_SECONDS) -> None:
        """`seconds` between two bytes."""
        self._to = port
        self._seconds = seconds
        self._let_go = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> SlowLink:
        return self

    def __exit__(self, *_: Any) -> None:
        self.let_go()
        self._listener.close()

    def before(self, reservation: dict[str, Any]) -> dict[str, Any]:
        """The same reservation, with this link before its first holder."""
        holder, *others = reservation["holders"]
        return {**reservation, "holders": [{**holder, "transferPort": self.port}, *others]}

    def let_go(self) -> None:
        """From now on as fast as it can."""
        self._let_go.set()

    def _accept(self) -> None:
        try:
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                threading.Thread(target=self._copy, args=(near, far, False), daemon=True).start()
                threading.Thread(target=self._copy, args=(far, near, True), daemon=True).start()
        except OSError:
            return

    def _copy(self, source: socket.socket, sink: socket.socket, slow: bool) -> None:
        with source, sink:
            try:
                while data := source.recv(65_536):
                    while slow and data and not self._let_go.wait(self._seconds):
                        sink.sendall(data[:1])
                        data = data[1:]
                    sink.sendall(data)
            except OSError:
                return
