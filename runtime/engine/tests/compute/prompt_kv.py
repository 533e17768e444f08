"""Prefill that keeps the KV, and decode of several requests whose pages are strewn over a pool."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from rank_threads import on_ranks
from torch import Tensor

from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import (
    PAGE_TOKENS,
    DecodeRow,
    PageTable,
    Place,
    PrefillJob,
    PrefillMode,
    PrefillResult,
    SampledToken,
    Sampling,
    StepPlan,
)
from csps_engine.kv.pool import KvPool
from csps_engine.model.llama import Llama
from csps_engine.pipeline.cost import PieceRule
from csps_engine.pipeline.decode import DecodeRunner
from csps_engine.pipeline.prefill import WHOLE, PrefillRunner

GREEDY = Sampling()


class KeptKv:
    """A sink that keeps K and V [kv_heads, n, head_dim] by (layer, first token)."""

    def __init__(self) -> None:
        self.parts: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def write(self, layer: int, first_token: int, k: Tensor, v: Tensor) -> None:
        assert first_token % PAGE_TOKENS == 0
        assert (layer, first_token) not in self.parts
        self.parts[layer, first_token] = (k, v)

    def flush(self) -> None:
        """Nothing is under way."""

    def layer(self, layer: int) -> tuple[Tensor, Tensor]:
        """K and V of all tokens in order; fails when tokens are missing or doubled."""
        parts = sorted((first, kv) for (of, first), kv in self.parts.items() if of == layer)
        expected = 0
        for first, (k, _) in parts:
            assert first == expected
            expected += k.shape[1]
        return torch.cat([k for _, (k, _) in parts], 1), torch.cat([v for _, (_, v) in parts], 1)


class RecordingLlama(Llama):
    """A model that keeps the logits it computed."""

    def __init__(self, model: Llama) -> None:
        super().__init__(model.config, model.weights)
        self.seen: list[Tensor] = []

    def logits(self, x: Tensor) -> Tensor:
        out = super().logits(x)
        self.seen.append(out)
        return out


@dataclass
class Prefilled:
    """One prompt after its prefill."""

    tokens: tuple[int, ...]
    first: SampledToken
    logits: Tensor  # [vocab]
    kv: KeptKv
    results: list[PrefillResult]


def prefill(
    model: Llama,
    tokens: Sequence[int],
    ranks: int,
    mode: PrefillMode = "auto",
    sampling: Sampling = GREEDY,
    pieces: PieceRule = WHOLE,
) -> Prefilled:
    """Prefill on `ranks` ranks; checks that all of them agree on the token."""
    job = PrefillJob("request", tuple(tokens), sampling, mode)
    recording, kv = RecordingLlama(model), KeptKv()
    results = on_ranks(ranks, lambda mesh: PrefillRunner(recording, mesh, pieces=pieces).run(job, kv))
    assert all(result.sampled == results[0].sampled for result in results)
    assert len(recording.seen) == 1
    return Prefilled(job.token_ids, results[0].sampled, recording.seen[0][0], kv, results)


def decode(
    model: Llama,
    prompts: Sequence[Prefilled],
    steps: int,
    ranks: int,
    seed: int = 0,
    sampling: Sequence[Sampling] | None = None,
    runner: type[DecodeRunner] = DecodeRunner,
) -> list[list[int]]:
    """Tokens after each prompt (the prefill's first), all in one batch; pages and homes are strewn by `seed`."""
    rng = random.Random(seed)
    drawn = sampling or [GREEDY] * len(prompts)
    lengths = [len(prompt.tokens) for prompt in prompts]
    pages = [-(-(length + steps) // PAGE_TOKENS) for length in lengths]
    free = {rank: rng.sample(range(sum(pages)), sum(pages)) for rank in range(ranks)}
    places = [[Place(rank := rng.randrange(ranks), free[rank].pop()) for _ in range(count)] for count in pages]
    homes = [rng.randrange(ranks) for _ in prompts]

    def run(mesh: Mesh) -> list[list[int]]:
        pool = KvPool(model.config.kv_shape("float32"), sum(pages))
        for prompt, own in zip(prompts, places, strict=True):
            store(pool, prompt.kv, own, mesh.rank)
        step_runner = runner(model, mesh, pool)
        streams = [[prompt.first.token_id] for prompt in prompts]
        for step in range(steps):
            rows = [
                DecodeRow(str(i), homes[i], streams[i][-1], lengths[i] + step, drawn[i]) for i in range(len(prompts))
            ]
            tables = {str(i): PageTable(places[i], lengths[i] + step) for i in range(len(prompts))}
            result = step_runner.step(StepPlan(tuple(rows)), tables)
            for i, stream in enumerate(streams):
                stream.append(result.sampled[str(i)].token_id)
        return streams

    answers = on_ranks(ranks, run)
    assert all(answer == answers[0] for answer in answers)
    return answers[0]


def store(pool: KvPool, kv: KeptKv, places: Sequence[Place], rank: int) -> None:
    """Write the pages that `places` puts on `rank` into its pool."""
    for (layer, first), (k, v) in kv.parts.items():
        for offset in range(0, k.shape[1], PAGE_TOKENS):
            place = places[(first + offset) // PAGE_TOKENS]
            if place.rank == rank:
                page = slice(offset, offset + PAGE_TOKENS)
                pool.write(layer, place.slot, k[:, page], v[:, page])
