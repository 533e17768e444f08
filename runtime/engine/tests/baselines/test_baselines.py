"""The baselines compute what the engine computes, so that a measured difference is one of time and bytes alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from prompt_kv import GREEDY, KeptKv, RecordingLlama, decode, prefill
from rank_threads import on_ranks
from tiny_llama import random_llama
from torch import Tensor

from bench.baselines.all_gather import AllGatherAttention
from bench.baselines.chunked import ChunkedServer, Request
from bench.baselines.kv_moving import KvMovingDecode
from bench.baselines.ring import RingAttention
from bench.baselines.runner import BaselinePrefill
from bench.baselines.star import StarAttention
from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import PrefillJob, PrefillResult
from csps_engine.kv.pool import KvPool
from csps_engine.pipeline.prefill import PrefillAttention

TOLERANCE = 2e-4
MODEL = random_llama(9, 3)


def prompt_of(tokens: int) -> tuple[int, ...]:
    return tuple(torch.randint(0, 61, (tokens,), generator=torch.Generator().manual_seed(tokens)).tolist())


def spread(
    make: Callable[[Mesh, int], PrefillAttention], prompt: tuple[int, ...], ranks: int
) -> tuple[Tensor, KeptKv, list[PrefillResult]]:
    recording, kv = RecordingLlama(MODEL), KeptKv()
    job = PrefillJob("request", prompt, GREEDY)
    results = on_ranks(ranks, lambda mesh: BaselinePrefill(recording, mesh, make).run(job, kv))
    return recording.seen[0][0], kv, results


@pytest.mark.parametrize("attention", [RingAttention, AllGatherAttention])
@pytest.mark.parametrize(("tokens", "ranks"), [(1, 2), (65, 3), (500, 2), (700, 3), (1000, 4), (1000, 6)])
def test_exact_baselines_give_dense_logits_and_kv(
    attention: Callable[[Mesh, int], PrefillAttention], tokens: int, ranks: int
) -> None:
    prompt = prompt_of(tokens)
    alone = prefill(MODEL, prompt, 1)
    logits, kv, _ = spread(attention, prompt, ranks)
    torch.testing.assert_close(logits, alone.logits, rtol=0, atol=TOLERANCE)
    for one, other in zip(kv.layer(1), alone.kv.layer(1), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=TOLERANCE)


def test_a_ring_moves_every_key_to_every_rank() -> None:
    c, ranks, tokens = MODEL.config, 4, 1024
    _, _, results = spread(RingAttention, prompt_of(tokens), ranks)
    moved = c.layers * (tokens // ranks) * (ranks - 1) * 2 * c.kv_heads * c.head_dim * 4
    assert [result.sent_bytes - (ranks - 1) * 16 for result in results] == [moved] * ranks


def test_star_attention_is_exact_where_the_anchor_is_all_there_is_between() -> None:
    # Over two ranks every token sees the anchor and its own run: that is everything.
    prompt = prompt_of(700)
    logits, kv, _ = spread(StarAttention, prompt, 2)
    alone = prefill(MODEL, prompt, 1)
    torch.testing.assert_close(logits, alone.logits, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(kv.layer(1)[0], alone.kv.layer(1)[0], rtol=0, atol=TOLERANCE)


def test_star_attention_is_approximate_over_more_ranks_and_sends_the_same_for_any_length() -> None:
    prompt = prompt_of(1000)
    logits, kv, results = spread(StarAttention, prompt, 4)
    alone = prefill(MODEL, prompt, 1)
    assert kv.layer(1)[0].shape[1] == len(prompt)
    assert not torch.allclose(logits, alone.logits, atol=TOLERANCE)
    _, _, shorter = spread(StarAttention, prompt_of(900), 4)
    assert [result.sent_bytes for result in results] == [result.sent_bytes for result in shorter]


@pytest.mark.parametrize("ranks", [2, 3])
def test_decode_that_moves_kv_gives_the_tokens_of_decode_that_moves_q(ranks: int) -> None:
    prompts = [prefill(MODEL, prompt_of(tokens), 1) for tokens in (30, 64, 300)]
    moving = decode(MODEL, prompts, 6, ranks, seed=3, runner=KvMovingDecode)
    assert moving == decode(MODEL, prompts, 6, ranks, seed=3)


@pytest.mark.parametrize("budget", [16, 100])
def test_chunked_prefill_mixed_with_decode_gives_the_tokens_of_separate_phases(budget: int) -> None:
    prompts = [prompt_of(tokens) for tokens in (150, 3, 64, 220)]
    server = ChunkedServer(MODEL, KvPool(MODEL.config.kv_shape("float32"), 10), budget)
    requests = [Request(str(i), prompt, 6) for i, prompt in enumerate(prompts)]
    for request in requests:
        server.add(request)
        server.step()
    while server.busy:
        server.step()
    for request, prompt in zip(requests, prompts, strict=True):
        assert request.output == decode(MODEL, [prefill(MODEL, prompt, 1)], 5, 1)[0]
