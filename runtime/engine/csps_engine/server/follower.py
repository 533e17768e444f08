"""The life of a process that follows process 0 of its rank: load a shard, take part in the epochs that it is told of.

It runs the same ticks as process 0 on its own shard and its own part of every page, and tells nobody but process 0.
"""

from __future__ import annotations

import json
import logging
import os
import select
from typing import Any

from csps_engine.config import EngineConfig
from csps_engine.loop.engine import EngineThread, EngineTimes
from csps_engine.loop.epoch_work import Epoch, EpochWork
from csps_engine.loop.rendezvous import bind_collectives
from csps_engine.loop.seat import Seat
from csps_engine.metrics import Metrics
from csps_engine.server.loaded import load_own
from csps_engine.server.settle import settle
from csps_engine.server.tensor_processes import Following
from csps_engine.server.work import UNHEARD, make_pool, make_prefill
from csps_engine.wire.generated import EpochProposal

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 16


def follow(config: EngineConfig, following: Following) -> int:
    """Until process 0 is gone; returns the exit status."""
    connection = following.connection
    engine: EngineThread | None = None
    try:
        bind_collectives(config.rank.address)
        engine = _load(config, Seat(following.tensor_rank, config.tensor_parallel))
        said: dict[str, Any] = {"ready": True}
    except Exception as error:
        # Told by process 0: one rank, one error.
        said = {"failed": str(error) or type(error).__name__}
    try:
        _say(connection, said)
        heard = b""
        while True:
            readable, _, _ = select.select([connection], [], [], config.heartbeat_ms / 1000)
            if readable:
                chunk = connection.recv(CHUNK_BYTES)
                if not chunk:
                    break
                *lines, heard = (heard + chunk).split(b"\n")
                for line in lines:
                    _take(engine, following.tensor_rank, json.loads(line))
            if engine is not None and not engine.stalled:
                _say(connection, {"alive": True})
    except ConnectionError:
        log.info("process 0 is gone")
    # At once: threads may sit in collectives with processes that are gone.
    os._exit(0)


def _load(config: EngineConfig, seat: Seat) -> EngineThread:
    model, metrics = load_own(config, seat), Metrics()
    work: EpochWork
    if config.role == "prefill":
        work = make_prefill(config, model, metrics, UNHEARD)
    else:
        work, _ = make_pool(config, model, metrics, UNHEARD)
    engine = EngineThread(
        work,
        EngineTimes(config.heartbeat_ms / 1000, config.collective_timeout_ms / 1000),
        config.backend,
        metrics,
        on_formed=lambda _: None,
        on_ended=lambda _, __, ___: None,
        seat=seat,
    )
    settle()
    engine.start()
    return engine


def _take(engine: EngineThread | None, tensor_rank: int, told: dict[str, Any]) -> None:
    if engine is not None and "epoch" in told:
        engine.assign(Epoch(EpochProposal.model_validate(told["epoch"]), told["rank"], tensor_rank))


def _say(connection: Any, document: dict[str, Any]) -> None:
    connection.sendall(json.dumps(document).encode() + b"\n")
