"""What the engine loop needs of the pipelines; PrefillRunner and DecodeRunner fulfil it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from csps_engine.core.plan import KvSink, PageTable, PrefillJob, PrefillResult, Progress, StepPlan, StepResult


class Prefill(Protocol):
    """One prefill at a time, collective over the mesh it was made with."""

    def run(self, job: PrefillJob, sink: KvSink, progress: Progress | None = None) -> PrefillResult: ...


class Decode(Protocol):
    """One decode step at a time, collective over the mesh it was made with."""

    def step(self, plan: StepPlan, tables: Mapping[str, PageTable]) -> StepResult:
        """Tables by request id; they cover at least the plan's rows and are the same on every rank."""
        ...
