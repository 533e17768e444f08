"""Publishes a rank's report every two seconds, and the shard maps of its pool's requests as they change.

Best effort: a write has half a second, and the first one over a new connection the time that TLS and Sentinels take.
When Redis is away, writes are dropped and counted, and it is asked again soon at first, for often no more than a
connection broke, then ever less often. When it is back, or when the answer to a report says that Redis has forgotten
this rank, everything that is held is published again, so nothing is ever replayed from a backlog.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import NoScriptError, RedisClusterException, RedisError

from csps_engine.config import EngineConfig
from csps_engine.core.plan import PAGE_TOKENS
from csps_engine.metrics import Metrics
from csps_engine.scheduler.request import PoolRequest
from csps_engine.state.address import connect, parse_address
from csps_engine.state.verbs import VERBS, Verb, read_verb
from csps_engine.wire.generated import RankState

log = logging.getLogger(__name__)

REPORT_SECONDS = 2.0
REPORT_LIVES_MS = 10_000
MAP_LIVES_MS = 3_600_000
REFRESH_SECONDS = MAP_LIVES_MS / 2000
"""A request may live longer than its map."""
RETRY_SECONDS = 0.25
"""After the first failure; twice as long after each further one, up to REPORT_SECONDS."""
REDIS_FAILED = (RedisError, RedisClusterException, OSError, TimeoutError, ValueError)
"""What a client of a cluster raises when no node answers is no RedisError."""
WRITE_SECONDS = 0.5
"""Nothing waits for a write. A busy rank may not get to an answer that has come for some of this."""
CONNECT_SECONDS = 2.0
"""Sentinels are asked first, and a handshake of TLS takes processor time, which a busy rank has little of."""


class StatePublisher:
    """Made on the event loop; `put` and `remove` may be called from any thread."""

    def __init__(self, config: EngineConfig, verbs: Path = VERBS) -> None:
        self._config = config
        self._deployment = f"{config.namespace}/{config.deployment}"
        self._loop = asyncio.get_running_loop()
        self._started_ms = _now_ms()
        self._verbs: dict[str, Verb] = {}
        if config.redis_url_file:
            self._verbs = {name: read_verb(name, verbs) for name in ("rank_report", "shard_put", "shard_remove")}
        self._state: Callable[[], RankState] | None = None
        self._metrics: Metrics | None = None
        self._maps: dict[str, dict[str, Any]] = {}
        self._unpublished: set[str] = set()
        self._wake = asyncio.Event()
        self._client: Redis | RedisCluster | None = None
        self._away = True
        self.token_bytes = 0
        """Bytes of KV of one token over all layers; 0 until the model is loaded."""

    def watch(self, state: Callable[[], RankState], metrics: Metrics) -> None:
        self._state, self._metrics = state, metrics

    def put(self, request: PoolRequest) -> None:
        """A request holds pages."""
        if self._verbs:
            shard_map = _shard_map(request, self._config.group, self.token_bytes)
            self._loop.call_soon_threadsafe(self._note, request.request_id, shard_map)

    def remove(self, request_id: str) -> None:
        """A request holds none any more."""
        if self._verbs:
            self._loop.call_soon_threadsafe(self._note, request_id, None)

    async def run(self) -> None:
        """Until cancelled. Returns at once when no Redis is configured."""
        if not self._verbs:
            return
        next_report, retry_seconds = 0.0, RETRY_SECONDS
        next_refresh = time.monotonic() + REFRESH_SECONDS
        while True:
            if time.monotonic() >= next_refresh:
                next_refresh = time.monotonic() + REFRESH_SECONDS
                self._unpublished |= self._maps.keys()
            if time.monotonic() >= next_report:
                next_report = time.monotonic() + REPORT_SECONDS
                await self._report()
            await self._publish_maps()
            self._wake.clear()
            if self._away:
                next_report = time.monotonic() + retry_seconds
                retry_seconds = min(2 * retry_seconds, REPORT_SECONDS)
            else:
                retry_seconds = RETRY_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, next_report - time.monotonic())):
                    await self._wake.wait()

    def _note(self, request_id: str, shard_map: dict[str, Any] | None) -> None:
        if shard_map is None:
            self._maps.pop(request_id, None)
        else:
            self._maps[request_id] = shard_map
        self._unpublished.add(request_id)
        if not self._away:
            self._wake.set()

    async def _report(self) -> None:
        assert self._state is not None
        values = {
            "nowMs": _now_ms(),
            "rankId": self._config.rank.rank_id,
            "incarnation": self._config.rank.incarnation,
            "startedMs": self._started_ms,
            "expiresAtMs": _now_ms() + REPORT_LIVES_MS,
            "report": _report(self._state(), self._started_ms),
        }
        was_away = self._away
        reply = await self._call("rank_report", values)
        self._away = reply is None
        # A Redis that does not know this rank has lost its data, perhaps between two reports and without a word.
        if reply is not None and (was_away or reply == ["accepted", "new"]):
            log.info("Redis is there; publishing all %d shard maps", len(self._maps))
            self._unpublished |= self._maps.keys()

    async def _publish_maps(self) -> None:
        if self._away:
            return
        while self._unpublished and not self._away:
            request_id = self._unpublished.pop()
            shard_map = self._maps.get(request_id)
            epoch = self._epoch()
            if shard_map is None:
                written = await self._call("shard_remove", {"requestId": request_id, "epoch": epoch})
            else:
                values = {
                    "nowMs": _now_ms(),
                    "requestId": request_id,
                    "epoch": epoch,
                    "version": shard_map["version"],
                    "expiresAtMs": _now_ms() + MAP_LIVES_MS,
                    "map": {**shard_map, "epoch": epoch},
                }
                written = await self._call("shard_put", values)
            self._away = written is None
            if self._away:
                # The map of one that holds nothing is in Redis yet, and is no part of what is published again.
                self._unpublished.add(request_id)

    def _epoch(self) -> int:
        assert self._state is not None
        return self._state().epoch

    async def _call(self, name: str, values: dict[str, Any]) -> list[str] | None:
        """The verb's reply; None when Redis gave none."""
        verb = self._verbs[name]
        try:
            connecting = 0.0 if self._client is not None else CONNECT_SECONDS
            client = self._client = self._client or self._connect()
            words = [*verb.key_names(self._deployment), *verb.arguments(values)]
            async with asyncio.timeout(connecting + 2 * WRITE_SECONDS):
                reply = await _run(client, verb, words)
        except REDIS_FAILED as error:
            if not self._away:
                log.warning("Redis is away, writes are dropped: %r", error)
            assert self._metrics is not None
            self._metrics.state_dropped.inc()
            client, self._client = self._client, None
            if client is not None:
                await _close(client)
            return None
        return [word.decode() if isinstance(word, bytes) else str(word) for word in reply]

    def _connect(self) -> Redis | RedisCluster:
        """Reads the URL anew, for its password may have been rotated."""
        file = Path(self._config.redis_url_file)
        authorities = file.with_name("ca.crt")
        return connect(
            parse_address(file.read_text("utf-8").strip()),
            str(authorities) if authorities.is_file() else None,
            WRITE_SECONDS,
            CONNECT_SECONDS,
        )


async def _run(client: Redis | RedisCluster, verb: Verb, words: list[str]) -> list[Any]:
    """Redis forgets scripts when it restarts; the text teaches it again."""
    count = len(verb.keys)
    try:
        reply: list[Any] = await client.evalsha(verb.sha1, count, *words)
    except NoScriptError:
        reply = await client.eval(verb.lua, count, *words)
    return reply


async def _close(client: Redis | RedisCluster) -> None:
    try:
        async with asyncio.timeout(WRITE_SECONDS):
            await client.aclose()
    except REDIS_FAILED as error:
        log.debug("closing a Redis connection failed: %r", error)


def _report(state: RankState, started_ms: int) -> dict[str, Any]:
    coordinates = state.coordinator is not None and state.coordinator.incarnation == state.rank.incarnation
    return {
        "rankId": state.rank.rank_id,
        "incarnation": state.rank.incarnation,
        "startedMs": started_ms,
        "reportedMs": _now_ms(),
        "rank": state.rank.to_wire(),
        "role": state.role,
        "group": state.group,
        "phase": state.phase,
        "epoch": state.epoch,
        "coordinator": coordinates and bool(state.epoch_members),
        "kvFormat": state.kv_format,
        "pagesTotal": state.pages_total,
        "pagesFree": state.pages_free,
        "running": state.running,
        "waiting": state.waiting,
    }


def _shard_map(request: PoolRequest, pool: str, token_bytes: int) -> dict[str, Any]:
    """Neighbouring pages on one rank form one shard."""
    shards: list[dict[str, Any]] = []
    for page, (rank_id, _) in enumerate(request.pages):
        if shards and shards[-1]["rankId"] == rank_id:
            shards[-1]["tokens"] += PAGE_TOKENS
        else:
            shards.append({"rankId": rank_id, "firstToken": page * PAGE_TOKENS, "tokens": PAGE_TOKENS})
    for shard in shards:
        shard["bytes"] = shard["tokens"] * token_bytes
    return {"requestId": request.request_id, "pool": pool, "version": request.map_version, "shards": shards}


def _now_ms() -> int:
    return int(time.time() * 1000)
