"""One prompt prefilled densely on one rank and sparsely on several, and the same questions put to both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from bench.accuracy.answers import Context, answer, chance, score
from bench.accuracy.haystack import Haystack, Question
from csps_engine.comm.group import form_mesh
from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import AttentionKind, PrefillJob, PrefillResult
from csps_engine.csa.settings import CsaSettings
from csps_engine.model.llama import Llama
from csps_engine.pipeline.prefill import PrefillRunner

Answer = TypeVar("Answer")

DEADLINE = timedelta(minutes=10)
HALF_BYTES = 2
"""Of an element of 16 bits."""


class Moved(NamedTuple):
    """What sparse attention did in one prompt; shares of what was visible."""

    mass_mean: float
    mass_p01: float
    keys: float
    bytes: float
    """Of keys and values fetched, over those visible in 16 bits, as GPUs hold them."""
    wire: float
    """Of all that was sent, digests, choices, queries and answers included, over what dense attention would send of
    keys and values, both as this run has them, in 32 bits."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The answers to one prompt's questions."""

    tokens: int
    questions: Sequence[Question]
    dense: Sequence[Tensor]
    sparse: Sequence[Tensor]
    moved: Moved

    def scores(self, task: str, name: str) -> list[float]:
        """Scores of a task's questions by `name`: chance, dense or sparse."""
        if name == "chance":
            return [chance(question) for question in self.questions if question.task == task]
        ranked = self.dense if name == "dense" else self.sparse
        pairs = zip(self.questions, ranked, strict=True)
        return [score(question, row) for question, row in pairs if question.task == task]


def run_trial(model: Llama, hay: Haystack, ranks: int, settings: CsaSettings) -> Trial:
    """Prefill twice, ask twice. One prompt's KV at a time is in memory."""

    def ask(ranks: int, kind: AttentionKind) -> tuple[Sequence[Tensor], list[PrefillResult]]:
        context, results = prefill(model, hay.tokens, ranks, kind, settings)
        return answer(model, context, hay.questions), results

    dense, _ = ask(1, "dense")
    sparse, results = ask(ranks, "sparse")
    return Trial(len(hay.tokens), hay.questions, dense, sparse, _moved(results, model.config.head_dim))


class KvShelf:
    """A sink of all ranks that keeps the KV of a prompt."""

    def __init__(self) -> None:
        self._parts: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def write(self, layer: int, first_token: int, k: Tensor, v: Tensor) -> None:
        self._parts[layer, first_token] = (k, v)

    def flush(self) -> None:
        """Nothing is under way."""

    def take(self, layers: int) -> Context:
        """K and V of all tokens, by layer; the shelf is empty then."""
        return [self._take(layer) for layer in range(layers)]

    def _take(self, layer: int) -> tuple[Tensor, Tensor]:
        keys = sorted(key for key in self._parts if key[0] == layer)
        parts = [self._parts.pop(key) for key in keys]
        return torch.cat([k for k, _ in parts], 1), torch.cat([v for _, v in parts], 1)


def prefill(
    model: Llama, tokens: tuple[int, ...], ranks: int, kind: AttentionKind, settings: CsaSettings
) -> tuple[Context, list[PrefillResult]]:
    """KV of a prompt, and each rank's result."""
    shelf, job = KvShelf(), PrefillJob("trial", tokens, attention=kind)
    results = on_ranks(ranks, lambda mesh: PrefillRunner(model, mesh, settings).run(job, shelf))
    return shelf.take(model.config.layers), results


def on_ranks(ranks: int, work: Callable[[Mesh], Answer]) -> list[Answer]:
    """Ranks as threads, which share one set of weights."""
    store = dist.HashStore()

    def one(rank: int) -> Answer:
        mesh = form_mesh(store, rank, ranks, DEADLINE)
        try:
            return work(mesh)
        except BaseException:
            mesh.abort()
            raise

    with ThreadPoolExecutor(ranks) as pool:
        return [future.result() for future in [pool.submit(one, rank) for rank in range(ranks)]]


def _moved(results: Sequence[PrefillResult], head_dim: int) -> Moved:
    reports = [result.sparse for result in results if result.sparse is not None]
    if not reports:
        raise ValueError("the prompt is too short for sparse attention: nothing was left out")
    rows = sum(report.available_rows for report in reports)
    return Moved(
        reports[0].mass_mean,
        reports[0].mass_p01,
        sum(report.fetched_rows for report in reports) / rows,
        sum(report.fetched_bytes for report in reports) / (rows * 2 * head_dim * HALF_BYTES),
        sum(result.sent_bytes for result in results) / sum(report.available_bytes for report in reports),
    )
