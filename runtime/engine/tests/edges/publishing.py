"""What the tests of the publisher share: a publisher that runs while a scene plays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from csps_engine.config import EngineConfig
from csps_engine.metrics import Metrics
from csps_engine.scheduler.request import PoolRequest
from csps_engine.state.publisher import StatePublisher
from csps_engine.wire.generated import RankState

KEYS = "csps:{ns/chat}:"


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
