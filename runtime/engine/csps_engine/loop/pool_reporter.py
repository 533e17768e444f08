"""What a pool's coordinator tells about its requests: events, metrics, shard maps, load."""

from __future__ import annotations

import time

from csps_engine.core.plan import PAGE_TOKENS, ChoiceReport, SampledToken, Sampling
from csps_engine.loop.choice_tally import ChoiceTally
from csps_engine.loop.reports import PostEvents, ShardReports, TakeOver, error_event, token_event
from csps_engine.metrics import Metrics
from csps_engine.scheduler.page_ledger import PageLedger
from csps_engine.scheduler.request import PoolRequest
from csps_engine.wire.generated import DecodeDone, FailureCode, WireMessage


class PoolReporter:
    """Used on the engine thread only."""

    def __init__(self, metrics: Metrics, post: PostEvents, take_over: TakeOver, shards: ShardReports) -> None:
        self.metrics = self._metrics = metrics
        self._post = post
        self._take_over = take_over
        self._shards = shards
        self._last_token_at: dict[str, float] = {}
        self._choices: dict[str, ChoiceTally] = {}
        self._events: list[tuple[str, WireMessage]] = []
        self._evicted = 0

    def held(self, request: PoolRequest) -> None:
        """Pages were reserved, or moved."""
        self._shards.put(request)

    def reused(self, request: PoolRequest) -> None:
        """Pages were reserved for a prompt, some of them shared."""
        if request.keys:
            self._metrics.prefix_queries.inc(request.prompt_tokens)
            self._metrics.prefix_hits.inc(request.shared_pages * PAGE_TOKENS)

    def kept(self, ledger: PageLedger) -> None:
        """How the cache of prompts stands; on a rank that coordinates nothing it is empty."""
        self._metrics.prefix_pages.set(ledger.keyed_count)
        self._metrics.prefix_evictions.inc(ledger.evicted - self._evicted)
        self._evicted = ledger.evicted

    def freed(self, request_id: str) -> None:
        """Pages were freed."""
        self._forget(request_id)
        self._shards.remove(request_id)

    def taken_over(self, request: PoolRequest) -> None:
        """Another coordinator left it: its stream goes on here."""
        self._shards.put(request)
        self._take_over(request)

    def handed_over(self, request_id: str) -> None:
        """Whoever coordinates next tells of it from now on."""
        self._forget(request_id)

    def token(self, request: PoolRequest, token: SampledToken, sampling: Sampling) -> None:
        """A step produced this; told with `flush`."""
        now = time.monotonic()
        before = self._last_token_at.get(request.request_id)
        if before is not None:
            self._metrics.inter_token_latency.observe(now - before)
        self._last_token_at[request.request_id] = now
        self._metrics.generation_tokens.inc()
        self._events.append((request.request_id, token_event(request.produced, token, sampling)))

    def chosen(self, request_id: str, report: ChoiceReport) -> None:
        """A step chose blocks of this request. What it amounts to is told when the answer ends."""
        self._metrics.sparse_decode(report)
        self._choices.setdefault(request_id, ChoiceTally()).add(report)

    def done(self, request: PoolRequest, reason: str) -> None:
        """The answer ended as asked; `reason` is one of DecodeDone's. Told with `flush`."""
        fields = {"type": "done", "reason": reason, "tokens": request.produced, "ranks": sorted(request.holders)}
        tally = self._choices.get(request.request_id)
        if tally is not None:
            self._metrics.sparse_decode_mass.observe(tally.covered)
        told = {**fields, "sparse": tally.summary()} if tally is not None else fields
        self._events.append((request.request_id, DecodeDone.model_validate(told)))

    def failed(self, request_id: str, code: FailureCode, message: str) -> None:
        """The answer will not be ended. Told with `flush`."""
        self._metrics.requests_failed.labels(code).inc()
        self._events.append((request_id, error_event(code, message)))

    def flush(self) -> None:
        """Post what happened, in order and in one go."""
        events, self._events = self._events, []
        self._post(events)

    def _forget(self, request_id: str) -> None:
        self._last_token_at.pop(request_id, None)
        self._choices.pop(request_id, None)

    def load(self, running: int, waiting: int, used_share: float) -> None:
        self._metrics.running.set(running)
        self._metrics.waiting.set(waiting)
        self._metrics.kv_usage.set(used_share)
