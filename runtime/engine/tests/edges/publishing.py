"""What the tests of the publisher share: a Redis of their own, and a publisher that runs while a scene plays."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from free_ports import free_ports
from redis import Redis

from csps_engine.config import EngineConfig
from csps_engine.metrics import Metrics
from csps_engine.scheduler.request import PoolRequest
from csps_engine.state.publisher import StatePublisher
from csps_engine.wire.generated import RankState

KEYS = "csps:{ns/chat}:"


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

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(60)


class SentinelProcess(RedisProcess):
    """By the `sentinel.conf` of its folder, which it writes to itself."""

    def _place(self) -> list[str]:
        file = str(self._folder / "sentinel.conf")
        return [file, "--sentinel", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]


def state_of(config: EngineConfig) -> RankState:
    return RankState(
        rank=config.rank,
        role="decode",
        deployment="chat",
        group="chat-decode",
        phase="serving",
        reason="",
        fence=1,
        generation=1,
        epoch=4,
        epoch_members=["chat-decode-0"],
        coordinator=config.rank,
        model="m",
        kv_format="f",
        context_length=100,
        page_tokens=64,
        pages_total=10,
        pages_free=7,
        pool_pages_total=10,
        pool_pages_free=7,
        running=1,
        waiting=0,
        last_break="",
    )


def request(name: str) -> PoolRequest:
    pages = [("chat-decode-0", 3), ("chat-decode-0", 4), ("chat-decode-1", 0)]
    return PoolRequest(name, 4, 130, 20, pages, "chat-decode-0", 1.0)


def play(
    config: EngineConfig, scene: Callable[[StatePublisher, Metrics], Awaitable[None]], seconds: float = 150
) -> None:
    """Run a publisher while `scene` plays."""

    async def run() -> None:
        publisher, metrics = StatePublisher(config), Metrics()
        publisher.token_bytes = 1000
        publisher.watch(lambda: state_of(config), metrics)
        running = asyncio.create_task(publisher.run())
        try:
            await asyncio.wait_for(scene(publisher, metrics), seconds)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("not within 60 s")
