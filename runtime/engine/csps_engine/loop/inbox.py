"""What other threads want the engine thread to do between two ticks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

Command = Callable[[], None]


class Inbox:
    """Thread-safe; the engine thread takes, everyone else puts."""

    def __init__(self) -> None:
        self._commands: deque[Command] = deque()
        self._changed = threading.Condition()

    def put(self, command: Command) -> None:
        with self._changed:
            self._commands.append(command)
            self._changed.notify()

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Run `function` on the engine thread; the future has its value or its exception."""
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                value = function()
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(value)

        self.put(run)
        return future

    def wait(self, seconds: float) -> None:
        """Return when there is a command, or after `seconds`."""
        with self._changed:
            if not self._commands:
                self._changed.wait(seconds)

    def run_all(self) -> None:
        """Run the commands that are there."""
        while True:
            with self._changed:
                if not self._commands:
                    return
                command = self._commands.popleft()
            command()
