"""A prompt whose beginning is known gives what the whole prompt gives, and computes what follows alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_kv import KeptKv, Prefilled, RecordingLlama, prefill
from rank_threads import on_ranks
from tiny_llama import random_llama
from torch import Tensor

from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import PrefillJob, PrefillResult
from csps_engine.pipeline.prefill import PrefillRunner
from csps_engine.pipeline.prefix_attention import PrefixAttention

MODELS = {heads: random_llama(*heads) for heads in [(9, 3), (8, 2), (6, 1)]}
TOLERANCE = 2e-4


class KnownBeginning:
    """The first tokens of a prompt that was prefilled before."""

    def __init__(self, whole: Prefilled, tokens: int) -> None:
        self.tokens = tokens
        self._kv = whole.kv
        self.taken: list[int] = []

    def take(self, layer: int) -> tuple[Tensor, Tensor]:
        self.taken.append(layer)
        k, v = self._kv.layer(layer)
        return k[:, : self.tokens], v[:, : self.tokens]


@settings(max_examples=25)
@given(
    heads=st.sampled_from(sorted(MODELS)),
    pages=st.integers(1, 8),
    rest=st.integers(1, 300),
    ranks=st.integers(1, 4),
    pieces=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_what_follows_a_known_beginning_is_as_in_the_whole_prompt(
    heads: tuple[int, int], pages: int, rest: int, ranks: int, pieces: int, seed: int
) -> None:
    model, known = MODELS[heads], 64 * pages
    prompt = tuple(torch.randint(0, 61, (known + rest,), generator=torch.Generator().manual_seed(seed)).tolist())
    whole = prefill(model, prompt, 1)
    recording, kv, job = RecordingLlama(model), KeptKv(), PrefillJob("r", prompt)
    beginnings = [KnownBeginning(whole, known) for _ in range(ranks)]

    def run(mesh: Mesh) -> PrefillResult:
        attention = PrefixAttention(mesh, len(prompt), beginnings[mesh.rank], pieces)
        return PrefillRunner(recording, mesh).run_with(attention, job, kv)

    results = on_ranks(ranks, run)
    assert {result.sampled.token_id for result in results} == {whole.first.token_id}
    torch.testing.assert_close(recording.seen[0][0], whole.logits, rtol=0, atol=TOLERANCE)
    assert min(first for _, first in kv.parts) == known
    for layer in range(model.config.layers):
        parts = [part for (of, _), part in sorted(kv.parts.items()) if of == layer]
        for column, expected in zip(zip(*parts, strict=True), whole.kv.layer(layer), strict=True):
            torch.testing.assert_close(torch.cat(column, 1), expected[:, known:], rtol=0, atol=TOLERANCE)
    assert all(one.taken == list(range(model.config.layers)) for one in beginnings)


@pytest.mark.parametrize("ranks", [2, 4])
def test_only_what_follows_travels_between_the_ranks(ranks: int) -> None:
    model, tokens = MODELS[9, 3], 2 * ranks * 64
    prompt = tuple(torch.randint(0, 61, (640 + tokens,), generator=torch.Generator().manual_seed(1)).tolist())
    whole = prefill(model, prompt, 1)

    def run(mesh: Mesh) -> PrefillResult:
        attention = PrefixAttention(mesh, len(prompt), KnownBeginning(whole, 640))
        return PrefillRunner(model, mesh).run_with(attention, PrefillJob("r", prompt), KeptKv())

    alone = prefill(model, prompt[640:], ranks, "kvGather")
    assert sum(r.sent_bytes for r in on_ranks(ranks, run)) == sum(r.sent_bytes for r in alone.results)
