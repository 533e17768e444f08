from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
from pathlib import Path

import pytest
from free_ports import free_ports
from publishing import KEYS, play, request, until
from redis_process import RedisProcess, SentinelProcess

from csps_engine.config import EngineConfig
from csps_engine.metrics import Metrics
from csps_engine.state.publisher import StatePublisher
from csps_engine.state.verbs import read_verb


def test_a_rank_reports_itself_and_where_kv_lies(config: EngineConfig, redis: RedisProcess) -> None:
    async def scene(publisher: StatePublisher, _: Metrics) -> None:
        await until(lambda: redis.client.hexists(KEYS + "ranks", "chat-decode-0"))
        publisher.put(request("r1"))
        publisher.put(request("r2"))
        await until(lambda: redis.client.hlen(KEYS + "shards") == 2)
        publisher.remove("r2")
        await until(lambda: redis.client.hlen(KEYS + "shards") == 1)

    play(config, scene)
    report = json.loads(redis.client.hget(KEYS + "ranks", "chat-decode-0"))
    assert (report["incarnation"], report["epoch"], report["coordinator"]) == ("uid", 4, True)
    assert (report["pagesFree"], report["rank"]["controlPort"]) == (7, 9000)
    shard_map = json.loads(redis.client.hget(KEYS + "shards", "r1"))
    assert (shard_map["pool"], shard_map["epoch"]) == ("chat-decode", 4)
    assert shard_map["shards"] == [
        {"rankId": "chat-decode-0", "firstToken": 0, "tokens": 128, "bytes": 128_000},
        {"rankId": "chat-decode-1", "firstToken": 128, "tokens": 64, "bytes": 64_000},
    ]


def test_redis_may_vanish_and_everything_is_published_again(config: EngineConfig, redis: RedisProcess) -> None:
    async def scene(publisher: StatePublisher, metrics: Metrics) -> None:
        publisher.put(request("before"))
        await until(lambda: redis.client.hlen(KEYS + "shards") == 1)
        redis.stop()
        publisher.put(request("while-away"))
        await until(lambda: metrics.state_dropped._value.get() >= 2)
        redis.start()
        await until(lambda: redis.client.hlen(KEYS + "shards") == 2)

    play(config, scene)
    assert set(redis.client.hkeys(KEYS + "shards")) == {"before", "while-away"}


def test_a_redis_that_lost_its_data_in_silence_gets_everything_again(config: EngineConfig, redis: RedisProcess) -> None:
    async def scene(publisher: StatePublisher, _: Metrics) -> None:
        publisher.put(request("held"))
        await until(lambda: redis.client.hlen(KEYS + "shards") == 1)
        redis.client.flushall()
        await until(lambda: redis.client.hlen(KEYS + "shards") == 1)

    play(config, scene)
    assert redis.client.hkeys(KEYS + "shards") == ["held"]


def test_a_redis_cluster_is_written_to(config: EngineConfig, tmp_path: Path) -> None:
    cluster = RedisProcess(tmp_path, "--cluster-enabled", "yes")
    try:
        cluster.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        Path(config.redis_url_file).write_text(f"redis+cluster://127.0.0.1:{cluster.port}")

        async def scene(publisher: StatePublisher, _: Metrics) -> None:
            publisher.put(request("r1"))
            await until(lambda: cluster.client.hlen(KEYS + "shards") == 1)

        asyncio.run(until(lambda: cluster.client.cluster("INFO")["cluster_state"] == "ok"))
        play(config, scene)
    finally:
        cluster.client.close()
        cluster.stop()


def test_a_redis_behind_tls_is_written_to_by_a_limited_user(config: EngineConfig, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", Path(config.redis_url_file).with_name("ca.crt")
    certify = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*certify, *name, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    port = free_ports()
    files = ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate]
    tls = ["--tls-port", str(port), "--tls-auth-clients", "no", *map(str, files)]
    server = RedisProcess(tmp_path, *tls)
    try:
        verbs = ["+eval", "+evalsha", "+hget", "+hset", "+hdel", "+exists", "+zadd", "+zrem", "+zscore", "+get"]
        rights = ["-@all", "+@connection", *verbs, "+zrangebyscore", "+zremrangebyscore"]
        server.client.execute_command("ACL", "SETUSER", "ranks", "on", ">p", f"~{KEYS}*", *rights)
        Path(config.redis_url_file).write_text(f"rediss://ranks:p@127.0.0.1:{port}")

        async def scene(publisher: StatePublisher, metrics: Metrics) -> None:
            publisher.put(request("r1"))
            await until(lambda: server.client.hkeys(KEYS + "shards") == ["r1"])
            publisher.remove("r1")
            await until(lambda: server.client.hlen(KEYS + "shards") == 0)

        play(config, scene)
        certificate.unlink()
        server.client.delete(KEYS + "ranks")

        async def distrusting(publisher: StatePublisher, metrics: Metrics) -> None:
            await until(lambda: metrics.state_dropped._value.get() > 0)

        play(config, distrusting)
        assert not server.client.exists(KEYS + "ranks"), "nothing is told to a server that nobody vouches for"
    finally:
        server.client.close()
        server.stop()


def test_the_primary_that_sentinels_name_is_written_to_and_the_next_one_when_it_is_gone(
    config: EngineConfig, tmp_path: Path
) -> None:
    places = [tmp_path / name for name in ("primary", "replica", "sentinel")]
    for place in places:
        place.mkdir()
    primary = RedisProcess(places[0])
    replica = RedisProcess(places[1], "--replicaof", "127.0.0.1", str(primary.port))
    watched = f"sentinel monitor store 127.0.0.1 {primary.port} 1\n"
    quick = "sentinel down-after-milliseconds store 500\nsentinel failover-timeout store 2000\n"
    (places[2] / "sentinel.conf").write_text(watched + quick)
    sentinel = SentinelProcess(places[2])
    Path(config.redis_url_file).write_text(f"redis+sentinel://127.0.0.1:{sentinel.port}?master=store")
    try:
        asyncio.run(until(lambda: len(sentinel.client.sentinel_slaves("store")) == 1))

        async def scene(publisher: StatePublisher, _: Metrics) -> None:
            publisher.put(request("r1"))
            await until(lambda: primary.client.hkeys(KEYS + "shards") == ["r1"])
            primary.stop()
            await until(lambda: replica.client.info("replication")["role"] == "master")
            replica.client.delete(KEYS + "ranks", KEYS + "shards")
            await until(lambda: replica.client.hkeys(KEYS + "shards") == ["r1"])

        play(config, scene)
    finally:
        for process in (sentinel, replica, primary):
            process.client.close()
            process.stop()


def test_without_a_redis_nothing_is_tried(config: EngineConfig) -> None:
    async def run() -> None:
        publisher = StatePublisher(dataclasses.replace(config, redis_url_file=""))
        publisher.put(request("r"))
        await asyncio.wait_for(publisher.run(), 30)

    asyncio.run(run())


def test_a_verb_takes_exactly_its_arguments() -> None:
    verb = read_verb("shard_remove")
    assert verb.key_names("ns/chat") == [KEYS + "shards", KEYS + "shardExpiry"]
    assert verb.arguments({"epoch": 3, "requestId": "r"}) == ["r", "3"]
    with pytest.raises(ValueError, match="shard_remove takes"):
        verb.arguments({"requestId": "r"})
