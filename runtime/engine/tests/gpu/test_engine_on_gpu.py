"""Prefill and decode of the real small model on one GPU, against the same engine on the CPU."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

from csps_engine.comm.local import LocalMesh
from csps_engine.core.plan import PAGE_TOKENS, DecodeRow, PageTable, Place, PrefillJob, Sampling, StepPlan
from csps_engine.kernels import choice
from csps_engine.kv.pool import KvPool
from csps_engine.model.llama import Llama
from csps_engine.model.load import load_model
from csps_engine.model.weights import WeightForm
from csps_engine.pipeline.decode import DecodeRunner
from csps_engine.pipeline.prefill import PrefillRunner

DEVICE = "cuda"
PROMPT = 300
STEPS = 24
GREEDY = Sampling()


class PoolSink:
    """Stores a prompt's KV in strewn slots of a pool."""

    def __init__(self, pool: KvPool, slots: list[int]) -> None:
        self._pool, self._slots = pool, slots

    def write(self, layer: int, first_token: int, k: Tensor, v: Tensor) -> None:
        for at in range(0, k.shape[1], PAGE_TOKENS):
            part = slice(at, at + PAGE_TOKENS)
            self._pool.write(layer, self._slots[(first_token + at) // PAGE_TOKENS], k[:, part], v[:, part])

    def flush(self) -> None:
        """Nothing is under way."""


def greedy(model: Llama, dtype: str, prompt: list[int]) -> list[int]:
    """The prompt's next STEPS + 1 tokens."""
    mesh = LocalMesh(model.device)
    pages = -(-(PROMPT + STEPS) // PAGE_TOKENS)
    slots = random.Random(1).sample(range(2 * pages), pages)
    pool = KvPool(model.config.kv_shape(dtype), 2 * pages, model.device)
    job = PrefillJob("r", tuple(prompt), GREEDY, "auto")
    stream = [PrefillRunner(model, mesh).run(job, PoolSink(pool, slots)).sampled.token_id]
    runner, places = DecodeRunner(model, mesh, pool), [Place(0, slot) for slot in slots]
    for step in range(STEPS):
        row = DecodeRow("r", 0, stream[-1], PROMPT + step, GREEDY)
        result = runner.step(StepPlan((row,)), {"r": PageTable(places, PROMPT + step)})
        stream.append(result.sampled["r"].token_id)
    return stream


@pytest.fixture(scope="module")
def prompt() -> list[int]:
    draw = random.Random(0)
    return [draw.randrange(1000, 20_000) for _ in range(PROMPT)]


@pytest.fixture(scope="module")
def wanted(model_file: Path, prompt: list[int]) -> list[int]:
    """On the CPU."""
    return greedy(load_model(model_file), "float32", prompt)


@pytest.mark.parametrize("form", ["triton", "torch"])
def test_greedy_tokens_are_those_of_the_cpu(
    form: str, model_file: Path, prompt: list[int], wanted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(choice.VARIABLE, form)
    choice._asked.cache_clear()
    try:
        assert greedy(load_model(model_file, WeightForm(device=torch.device(DEVICE))), "float32", prompt) == wanted
    finally:
        choice._asked.cache_clear()
