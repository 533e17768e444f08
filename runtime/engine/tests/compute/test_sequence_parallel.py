"""Spreading a prompt or a request over ranks changes nothing, for any length, degree and head count."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_kv import decode, prefill
from tiny_llama import random_llama

from csps_engine.core.plan import PrefillMode, Sampling
from csps_engine.pipeline.cost import FixedPieces, layer_work
from csps_engine.pipeline.mode import choose_mode, split_heads, splits_evenly

MODELS = {heads: random_llama(*heads) for heads in [(9, 3), (8, 2), (4, 4), (6, 1)]}
HEADS = st.sampled_from(sorted(MODELS))
MODES: tuple[PrefillMode, ...] = ("kvGather", "allToAll")
TOLERANCE = 2e-4


def prompt_of(tokens: int, seed: int) -> tuple[int, ...]:
    return tuple(torch.randint(0, 61, (tokens,), generator=torch.Generator().manual_seed(seed)).tolist())


@settings(max_examples=25)
@given(heads=HEADS, tokens=st.integers(1, 900), ranks=st.integers(2, 6), seed=st.integers(0, 1000))
def test_prefill_gives_the_same_logits_and_kv_whatever_the_degree(
    heads: tuple[int, int], tokens: int, ranks: int, seed: int
) -> None:
    model, prompt = MODELS[heads], prompt_of(tokens, seed)
    alone = prefill(model, prompt, 1)
    for mode in MODES:
        spread = prefill(model, prompt, ranks, mode)
        assert {result.mode for result in spread.results} == {mode}
        torch.testing.assert_close(spread.logits, alone.logits, rtol=0, atol=TOLERANCE)
        for layer in range(model.config.layers):
            for one, other in zip(spread.kv.layer(layer), alone.kv.layer(layer), strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=TOLERANCE)


@settings(max_examples=20)
@given(
    heads=HEADS,
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=4),
    ranks=st.integers(2, 8),
    seed=st.integers(0, 1000),
)
def test_decode_gives_the_same_tokens_whatever_the_pages_and_homes(
    heads: tuple[int, int], lengths: list[int], ranks: int, seed: int
) -> None:
    model = MODELS[heads]
    prompts = [prefill(model, prompt_of(length, seed + i), 1) for i, length in enumerate(lengths)]
    spread = decode(model, prompts, 5, ranks, seed)
    assert spread == [decode(model, [prompt], 5, 1)[0] for prompt in prompts]


def test_decode_goes_on_as_a_longer_prefill_would() -> None:
    model, prompt = MODELS[9, 3], prompt_of(120, 1)
    [stream] = decode(model, [prefill(model, prompt, 1)], 20, 3, seed=4)
    for step in (1, 8, 9, 20):
        assert prefill(model, prompt + tuple(stream[:step]), 2).first.token_id == stream[step]


def test_a_sampled_stream_is_repeated_by_a_retry_from_its_middle() -> None:
    model, prompt = MODELS[8, 2], prompt_of(60, 2)
    sampling = Sampling(temperature=1.5, top_p=0.95, seed=42)
    first = prefill(model, prompt, 2, sampling=sampling)
    [stream] = decode(model, [first], 20, 2, seed=1, sampling=[sampling])
    assert len(set(stream)) > 5
    again = prefill(model, prompt + tuple(stream[:9]), 3, sampling=sampling)
    [rest] = decode(model, [again], 11, 3, seed=2, sampling=[sampling])
    assert stream[:9] + rest == stream


def test_every_rank_learns_logprobs_in_full() -> None:
    sampling = Sampling(logprobs=5, want_logprobs=True)
    alone, spread = (prefill(MODELS[4, 4], prompt_of(200, 3), n, sampling=sampling).first for n in (1, 3))
    assert [i for i, _ in spread.top] == [i for i, _ in alone.top]
    assert [p for _, p in spread.top] == pytest.approx([p for _, p in alone.top], abs=TOLERANCE)
    assert spread.logprob == spread.top[0][1]


@pytest.mark.parametrize("heads", sorted(MODELS))
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_bytes_sent_are_those_of_the_formula(heads: tuple[int, int], ranks: int) -> None:
    model = MODELS[heads]
    c, tokens = model.config, 2 * ranks * 64
    share, element = tokens // ranks, 4
    token_rows = ranks * (ranks - 1) * 16  # the sampled token, shared at the end
    gathered = prefill(model, prompt_of(tokens, 5), ranks, "kvGather")
    # Late chunks go to lower ranks alone: of 2P(P-1) chunks a quarter stays.
    expected = c.layers * share * (ranks - 1) * ranks * 2 * c.kv_heads * c.head_dim * element * 3 // 4
    assert sum(result.sent_bytes for result in gathered.results) == expected + token_rows
    exchanged = prefill(model, prompt_of(tokens, 5), ranks, "allToAll")
    held = sum(len(split.kv_heads) for split in split_heads(c, ranks))
    expected = c.layers * share * (ranks - 1) * (2 * c.heads + 2 * held) * c.head_dim * element
    assert sum(result.sent_bytes for result in exchanged.results) == expected + token_rows
    work = layer_work(c, "allToAll", tokens, ranks, element)
    busiest = max(result.sent_bytes for result in exchanged.results) - token_rows // ranks
    assert busiest <= c.layers * (work.inward_bytes + work.back_bytes)
    if splits_evenly(c, ranks):
        assert busiest == c.layers * (work.inward_bytes + work.back_bytes)


@pytest.mark.parametrize("heads", [*MODELS, (32, 8), (64, 8), (12, 4)])
@pytest.mark.parametrize("ranks", range(2, 17))
def test_auto_takes_the_form_that_sends_less(heads: tuple[int, int], ranks: int) -> None:
    config = random_llama(*heads, layers=1, head_dim=2).config
    chosen = choose_mode(config, ranks, "auto")
    if not splits_evenly(config, ranks):
        assert chosen == "kvGather"
        return
    exchange = (2 * config.heads + 2 * sum(len(split.kv_heads) for split in split_heads(config, ranks))) / ranks
    assert chosen == ("kvGather" if 2 * config.kv_heads < exchange else "allToAll")


@pytest.mark.parametrize("heads", [*MODELS, (32, 8), (12, 4)])
@pytest.mark.parametrize("ranks", range(2, 14))
def test_every_query_head_is_given_to_one_rank_with_the_keys_that_it_reads(heads: tuple[int, int], ranks: int) -> None:
    config = random_llama(*heads, layers=1, head_dim=2).config
    splits = split_heads(config, ranks)
    assert [head for split in splits for head in split.heads] == list(range(config.heads))
    assert max(len(split.heads) for split in splits) - min(len(split.heads) for split in splits) <= 1
    for split in splits:
        readers = [split.heads.start + head for heads in split.readers() for head in heads]
        assert readers == list(split.heads)
        for kv_head, heads in zip(split.kv_heads, split.readers(), strict=True):
            assert {(split.heads.start + head) // config.group for head in heads} == {kv_head}


@pytest.mark.parametrize("pieces", [1, 2, 3, 5, 9, 18])
@pytest.mark.parametrize("ranks", [2, 4, 6, 11])
def test_uneven_shares_of_heads_change_nothing_in_any_number_of_pieces(ranks: int, pieces: int) -> None:
    model, prompt = MODELS[9, 3], prompt_of(1000, 7)
    alone = prefill(model, prompt, 1)
    spread = prefill(model, prompt, ranks, "allToAll", pieces=FixedPieces(pieces))
    torch.testing.assert_close(spread.logits, alone.logits, rtol=0, atol=TOLERANCE)
    for layer in range(model.config.layers):
        for one, other in zip(spread.kv.layer(layer), alone.kv.layer(layer), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=TOLERANCE)
