"""The life of a rank's process: start, serve, drain, exit."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Sequence
from functools import partial

from aiohttp import web

from csps_engine.config import EngineConfig
from csps_engine.core.kvshape import KvShape
from csps_engine.loop.rendezvous import bind_collectives
from csps_engine.loop.reports import ShardReports
from csps_engine.server.control import ControlHandlers
from csps_engine.server.crew import Crew
from csps_engine.server.http import MAX_BODY_BYTES, bearer_token, errors_as_failures
from csps_engine.server.moving import MovingHandlers
from csps_engine.server.rank import Rank
from csps_engine.server.serving import ServingHandlers
from csps_engine.server.tensor_processes import FollowerHandle
from csps_engine.state.publisher import StatePublisher

log = logging.getLogger(__name__)

LOST_PROCESS = 3
"""Exit status when a process of the rank is lost."""
MEMBER_DRAIN_SECONDS = 6.0
"""How long a member that holds nothing waits for its coordinator to leave it out."""


async def serve(config: EngineConfig, followers: Sequence[FollowerHandle] = ()) -> int:
    """Run until SIGTERM, and what is handed on then, or until a follower is lost; returns the exit status."""
    bind_collectives(config.rank.address)
    publisher = StatePublisher(config)
    crew = Crew(followers, config.collective_timeout_ms / 1000)
    await crew.open()
    rank = Rank(config, crew, partial(_shard_reports, publisher))
    publisher.watch(rank.state, rank.metrics)
    stopping = asyncio.Event()

    def drain() -> None:
        if not rank.standing.draining:
            log.info("draining")
            rank.standing.draining = True
            rank.standing.changed.set()

    def stop() -> None:
        drain()
        stopping.set()

    app = web.Application(
        middlewares=[errors_as_failures(), bearer_token(config.control_token)], client_max_size=MAX_BODY_BYTES
    )
    app.add_routes(
        [*ControlHandlers(rank, drain).routes(), *ServingHandlers(rank).routes(), *MovingHandlers(rank).routes()]
    )
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    host = "::" if ":" in config.rank.address else "0.0.0.0"
    if config.rank.address.startswith("127."):
        host = config.rank.address
    await web.TCPSite(runner, host, config.rank.control_port).start()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop)
    tasks = [loop.create_task(rank.bring_up()), loop.create_task(publisher.run())]
    served = loop.create_task(_serve_until(stopping, rank, config.drain_grace_ms / 1000))
    lost = loop.create_task(crew.lost())
    try:
        await asyncio.wait({served, lost}, return_when=asyncio.FIRST_COMPLETED)
        broken = lost.result() if lost.done() else None
    finally:
        for task in (*tasks, served, lost):
            task.cancel()
        await asyncio.gather(*tasks, served, lost, return_exceptions=True)
        await rank.close()
        await runner.cleanup()
        await crew.close()
    if broken is not None:
        log.error("%s: the rank ends", broken)
        return LOST_PROCESS
    log.info("drained")
    return 0


async def _serve_until(stopping: asyncio.Event, rank: Rank, grace_seconds: float) -> None:
    await stopping.wait()
    await _finish(rank, grace_seconds)


def _shard_reports(publisher: StatePublisher, shape: KvShape) -> ShardReports:
    publisher.token_bytes = shape.layers * shape.token_layer_bytes()
    return ShardReports(put=publisher.put, remove=publisher.remove)


async def _finish(rank: Rank, grace_seconds: float) -> None:
    """Wait until this rank is not needed any more, or its grace is over."""
    began = time.monotonic()
    emptied_at: float | None = None
    while (now := time.monotonic()) - began < grace_seconds:
        standing = rank.standing
        epoch = standing.serving
        if rank.drained and epoch is None and standing.joining is None and not (rank.relay.busy or rank.cancels.busy):
            return
        emptied_at = (emptied_at or now) if rank.drained else None
        if epoch is not None and emptied_at is not None:
            # As a rule the coordinator leaves it out; the rest of the group may be too small for an epoch.
            if epoch.coordinates and rank.engine is not None:
                rank.engine.leave(f"coordinator {rank.config.rank.rank_id} drains")
            elif now - emptied_at > MEMBER_DRAIN_SECONDS:
                return
        await standing.wait(0.1)
