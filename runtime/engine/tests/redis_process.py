"""A real redis-server or Sentinel of a test's own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from free_ports import free_ports
from redis import Redis


class RedisProcess:
    def __init__(self, folder: Path, *options: str) -> None:
        self._options = options
        self.port = free_ports()
        self._folder = folder
        self.client = Redis(port=self.port, decode_responses=True)
        self.start()

    def start(self) -> None:
        program = shutil.which("redis-server")
        assert program is not None, "redis-server is needed on PATH"
        self._process = subprocess.Popen(
            [program, *self._place(), *self._options],
            stdout=subprocess.DEVNULL,
        )
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("redis-server did not start")

    def _place(self) -> list[str]:
        return ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]

    def url_file(self) -> Path:
        """As a rank is told where its state store is."""
        file = self._folder / "url"
        file.write_text(f"redis://127.0.0.1:{self.port}/0\n")
        return file

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(60)


class SentinelProcess(RedisProcess):
    """By the `sentinel.conf` of its folder, which it writes to itself."""

    def _place(self) -> list[str]:
        file = str(self._folder / "sentinel.conf")
        return [file, "--sentinel", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]


@contextmanager
def running_redis(folder: Path) -> Iterator[RedisProcess]:
    process = RedisProcess(folder)
    try:
        yield process
    finally:
        process.client.close()
        process.stop()
