"""What a prefill group tells of its prompts: events for their clients, metrics, and the load that planners read."""

from __future__ import annotations

import time

from csps_engine.loop.epoch_work import Epoch
from csps_engine.loop.load_meter import LoadMeter, PrefillSample, Queued
from csps_engine.loop.prefill_queue import PrefillQueue
from csps_engine.loop.prompt import Prompt
from csps_engine.loop.reports import PostEvents, error_event, token_event
from csps_engine.metrics import Metrics
from csps_engine.wire.generated import FailureCode, PrefillDone, PrefillProgress


class PrefillReporter:
    """On the engine thread of the coordinator."""

    def __init__(self, metrics: Metrics, post: PostEvents) -> None:
        self._metrics = metrics
        self._post = post
        self.meter = LoadMeter()

    def progressed(self, prompt: Prompt) -> None:
        """Some of its layers were computed."""
        progress = PrefillProgress(type="progress", layers_done=prompt.layers_done, layers=prompt.layers)
        self._post([(prompt.task.request_id, progress)])

    def succeeded(self, prompt: Prompt, epoch: Epoch, kv_bytes: int) -> None:
        """All its KV is acknowledged: the first token goes out, and the stream ends."""
        task, now = prompt.task, time.monotonic()
        first, computed_at = prompt.first_token, prompt.computed_at
        assert first is not None
        assert computed_at is not None
        seconds, tokens = computed_at - prompt.taken_at, len(task.token_ids)
        if not prompt.reused_tokens:
            # A sample stands for a prompt that was computed whole.
            waited = prompt.taken_at - task.received_at
            self.meter.prefilled(PrefillSample(tokens, len(prompt.ranks), seconds, waited, first.sparse), now)
        self._metrics.prompt_tokens.inc(tokens)
        self._metrics.time_to_first_token.observe(now - task.received_at)
        done = PrefillDone(
            type="done",
            degree=len(prompt.ranks),
            ranks=[epoch.members[rank].rank_id for rank in prompt.ranks],
            compute_ms=1000 * seconds,
            kv_bytes_pushed=kv_bytes,
            reused_tokens=prompt.reused_tokens or None,
            sparse=first.sparse,
        )
        self._post([(task.request_id, token_event(0, first.sampled, task.sampling)), (task.request_id, done)])

    def failed(self, request_id: str, code: FailureCode, message: str) -> None:
        """The stream ends without a token."""
        self._metrics.requests_failed.labels(code).inc()
        self._post([(request_id, error_event(code, message))])

    def load(self, running: int, running_tokens: int, queue: PrefillQueue) -> None:
        """What is at hand. `running_tokens`: of the prompts that are computed."""
        self.meter.queued = Queued(queue.prompt_tokens, queue.oldest, running_tokens)
        self._metrics.running.set(running)
        self._metrics.waiting.set(len(queue))
