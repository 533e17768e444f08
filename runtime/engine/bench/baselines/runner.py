"""Prefill with a baseline's attention; everything else is the engine's own path."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from bench.baselines.star import StarAttention
from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import KvSink, PrefillJob, PrefillResult, Progress
from csps_engine.model.llama import Llama
from csps_engine.pipeline.prefill import PrefillAttention, PrefillRunner


class BaselinePrefill:
    """Runs prompts one after another on one rank of two or more."""

    def __init__(self, model: Llama, mesh: Mesh, make: Callable[[Mesh, int], PrefillAttention]) -> None:
        self._runner = PrefillRunner(model, mesh)
        self._mesh = mesh
        self._make = make

    def run(self, job: PrefillJob, sink: KvSink, progress: Progress | None = None) -> PrefillResult:
        """As PrefillRunner.run."""
        attention = self._make(self._mesh, len(job.token_ids))
        copies = isinstance(attention, StarAttention) and self._mesh.rank > 0
        return self._runner.run_with(attention, job, _WithoutAnchor(sink) if copies else sink, progress)


class _WithoutAnchor:
    """A sink that leaves out the anchor's copies: the first rank keeps the original."""

    def __init__(self, sink: KvSink) -> None:
        self._sink = sink

    def write(self, layer: int, first_token: int, k: Tensor, v: Tensor) -> None:
        if first_token > 0:
            self._sink.write(layer, first_token, k, v)

    def flush(self) -> None:
        self._sink.flush()
