"""A connection to Redis may break at any point of a command: before Redis ran it, or with the answer on its way."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from free_ports import free_ports
from publishing import KEYS, play, request, until
from redis_process import RedisProcess

import csps_engine.state.publisher as publishing
from csps_engine.config import EngineConfig
from csps_engine.metrics import Metrics
from csps_engine.state.publisher import StatePublisher


class Link:
    """Carries a Redis' connections. While `deaf`, an answer breaks its connection instead of being carried."""

    def __init__(self, server: int) -> None:
        self._server = server
        self.deaf = False
        self.lost = 0

    async def open(self, port: int) -> None:
        await asyncio.start_server(self._carry, "127.0.0.1", port)

    async def _carry(self, asking: asyncio.StreamReader, answering: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_connection("127.0.0.1", self._server)
        async with asyncio.TaskGroup() as ways:
            ways.create_task(_pump(asking, questions))
            ways.create_task(self._answer(answers, answering))

    async def _answer(self, answers: asyncio.StreamReader, answering: asyncio.StreamWriter) -> None:
        while answer := await answers.read(65_536):
            if self.deaf:
                self.deaf = False
                self.lost += 1
                break
            answering.write(answer)
        answering.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while part := await source.read(65_536):
            sink.write(part)
    sink.close()


def test_a_connection_that_breaks_is_renewed_without_waiting_for_the_next_report(
    config: EngineConfig, redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "REPORT_SECONDS", 1000.0)

    async def scene(publisher: StatePublisher, metrics: Metrics) -> None:
        publisher.put(request("before"))
        await until(lambda: redis.client.hlen(KEYS + "shards") == 1)
        redis.client.flushall()
        redis.client.client_kill_filter(_type="normal", skipme=True)
        publisher.put(request("after"))
        await until(lambda: redis.client.hlen(KEYS + "shards") == 2)
        assert metrics.state_dropped._value.get() >= 1

    play(config, scene)


def test_the_answer_that_says_what_redis_forgot_may_be_lost(config: EngineConfig, redis: RedisProcess) -> None:
    link, port = Link(redis.port), free_ports()
    Path(config.redis_url_file).write_text(f"redis://127.0.0.1:{port}/0")

    async def scene(publisher: StatePublisher, _: Metrics) -> None:
        await link.open(port)
        publisher.put(request("held"))
        await until(lambda: redis.client.hlen(KEYS + "shards") == 1)
        redis.client.flushall()
        link.deaf = True
        await until(lambda: redis.client.hexists(KEYS + "shards", "held"))
        assert link.lost == 1

    play(config, scene)


def test_a_removal_that_found_its_connection_broken_is_made_up_for(config: EngineConfig, redis: RedisProcess) -> None:
    async def scene(publisher: StatePublisher, metrics: Metrics) -> None:
        publisher.put(request("ended"))
        publisher.put(request("held"))
        await until(lambda: redis.client.hlen(KEYS + "shards") == 2)
        dropped = metrics.state_dropped._value.get()
        redis.client.client_kill_filter(_type="normal", skipme=True)
        publisher.remove("ended")
        await until(lambda: metrics.state_dropped._value.get() > dropped)
        await until(lambda: redis.client.hkeys(KEYS + "shards") == ["held"])

    play(config, scene)


def test_a_cluster_that_is_away_at_first_is_written_to_once_it_is_there(config: EngineConfig, tmp_path: Path) -> None:
    cluster = RedisProcess(tmp_path, "--cluster-enabled", "yes")

    def serves() -> bool:
        return bool(cluster.client.cluster("INFO")["cluster_state"] == "ok")

    try:
        cluster.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        asyncio.run(until(serves))
        cluster.stop()
        Path(config.redis_url_file).write_text(f"redis+cluster://127.0.0.1:{cluster.port}")

        async def scene(publisher: StatePublisher, metrics: Metrics) -> None:
            publisher.put(request("held"))
            await until(lambda: metrics.state_dropped._value.get() >= 2)
            await asyncio.to_thread(cluster.start)
            await until(serves)
            await until(lambda: cluster.client.hkeys(KEYS + "shards") == ["held"])

        play(config, scene)
    finally:
        cluster.client.close()
        cluster.stop()
