"""What a request asks of Redis, by Redis' own count: where KV lies when pages are reserved, and that it is gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from gateway_part import Request
from rank_process import Group, Place, wait_for
from redis import Redis
from redis_process import RedisProcess, running_redis
from tiny_model import prompt_of

from csps_engine.state.verbs import VERBS, read_verb

KEYS = "csps:{test/tiny}:"
REQUESTS = 5
CALLS = ("eval", "evalsha")
IN_SCRIPTS = {"hget", "hset", "hdel", "zadd", "zrem", "zscore"}
"""Commands of the verbs, which Redis counts beside the call that ran them."""
ASKED_HERE = {"config", "exec", "hexists", "hlen", "info", "multi", "slowlog"}


class Counted:
    """What Redis was called for since this was made."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._verbs = {read_verb(file.stem).sha1: file.stem for file in VERBS.glob("*.lua")}
        client.config_set("slowlog-max-len", 100_000)
        client.config_set("slowlog-log-slower-than", 0)
        with client.pipeline(transaction=True) as both:
            both.config_resetstat()
            both.slowlog_reset()
            both.execute()

    def calls(self) -> Counter[str]:
        """By verb; its log must name as many of them as its statistics count, and these no command of another kind."""
        with self._client.pipeline(transaction=True) as both:
            both.info("commandstats")
            both.slowlog_get(100_000)
            statistics, entries = both.execute()
        counted = {name.removeprefix("cmdstat_"): told["calls"] for name, told in statistics.items()}
        assert {name.split("|")[0] for name in counted} <= {*CALLS, *IN_SCRIPTS, *ASKED_HERE}
        called = [entry["command"].split() for entry in entries]
        verbs = Counter(self._verbs[words[1].decode()] for words in called if words[0].lower() == b"evalsha")
        assert verbs.total() == sum(counted.get(name, 0) for name in CALLS)
        return verbs


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    with running_redis(tmp_path) as process:
        yield process


@pytest.fixture
def groups(place: Place, redis: RedisProcess, tmp_path: Path) -> Iterator[tuple[Group, Group]]:
    """A prefill group of one rank and a decode pool of two, which publish to Redis."""
    there = replace(place, folder=tmp_path, settings={**place.settings, "CSPS_REDIS_URL_FILE": str(redis.url_file())})
    prefill, decode = Group(there, "counted-prefill-0", "prefill", 1), Group(there, "counted-decode", "decode", 2)
    with prefill.served(), decode.served():
        yield prefill, decode


def test_a_request_reaches_redis_twice_and_a_token_never(groups: tuple[Group, Group], redis: RedisProcess) -> None:
    prefill, decode = groups
    group, pool = prefill.wait_serving(), decode.wait_serving()
    wait_for(lambda: redis.client.hlen(KEYS + "ranks") == 3, pool, 60)

    def served(tokens: int, seed: int) -> None:
        request = Request(prompt_of(100, seed=seed), tokens)
        reservation = request.reserve(pool)
        # One that ends before its map was written is told of once only.
        wait_for(lambda: redis.client.hexists(KEYS + "shards", request.request_id), pool, 60)
        first, _ = request.prefill(group, reservation)
        assert len(request.decode(pool, first)[0]) == tokens - 1
        wait_for(lambda: redis.client.hlen(KEYS + "shards") == 0, pool, 60)

    served(8, seed=1)  # Redis learns the scripts.
    with Redis(port=redis.port) as client:
        for tokens in (8, 80):
            counted = Counted(client)
            for nth in range(REQUESTS):
                served(tokens, seed=100 * tokens + nth)
            calls = counted.calls()
            del calls["rank_report"]  # Heartbeats go by time.
            assert calls == {"shard_put": REQUESTS, "shard_remove": REQUESTS}, f"{tokens} tokens"
