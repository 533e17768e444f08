"""The engine gives the very tokens that transformers gives, however the work is spread."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from prompt_kv import Prefilled, decode, prefill
from transformers_oracle import NEW_TOKENS, Expected, TransformersOracle

from csps_engine.core.plan import PrefillMode
from csps_engine.model.llama import Llama
from csps_engine.model.load import load_model
from csps_engine.model.weights import WeightForm

LOGIT_TOLERANCE = 2e-3
KV_TOLERANCE = 2e-3

COLOURS = ("red", "green", "blue", "grey", "white", "black", "brown")
ANIMALS = ("fox", "owl", "whale", "horse", "otter", "crane", "mole", "lynx", "toad", "hare", "wolf")
STORY = " ".join(
    f"In the year {1000 + year} a {COLOURS[year % 7]} {ANIMALS[year % 11]} crossed the river {year * 7 % 83} times."
    for year in range(400)
)
CHAT = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
)
PROMPTS: dict[str, tuple[str, int | None]] = {
    "chat": (CHAT, None),
    "200": (STORY, 200),
    "non-ASCII": ("Grüße aus Zürich: 东京の空は青い。Ελλάδα, Москва, 🚀🦊 — naïve café. Das heißt auf Englisch:", None),
    "1,000": (STORY, 1000),
    # More than one chunk on each of two ranks; longer ones are asked of a whole deployment (e2e/scenarios).
    "2,200": (STORY, 2200),
}
ALL_DEGREES: tuple[tuple[int, PrefillMode], ...] = (
    (1, "auto"),
    (2, "kvGather"),
    (3, "kvGather"),
    (3, "allToAll"),
)
DEGREES: dict[str, tuple[tuple[int, PrefillMode], ...]] = {
    "chat": ALL_DEGREES,
    # Of this one test_dense_modes holds the logits at every degree.
    "200": ((1, "auto"), (2, "kvGather")),
    "non-ASCII": ALL_DEGREES,
    "1,000": ((1, "auto"), (2, "kvGather"), (3, "allToAll")),
    "2,200": ((2, "kvGather"),),
}


@pytest.fixture(scope="module", params=list(PROMPTS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def expected(oracle: TransformersOracle) -> dict[str, Expected]:
    return {name: oracle.expect(text, tokens) for name, (text, tokens) in PROMPTS.items()}


@pytest.fixture(scope="module")
def prefilled(model: Llama, expected: dict[str, Expected]) -> dict[str, list[Prefilled]]:
    return {
        name: [prefill(model, expected[name].prompt, ranks, mode) for ranks, mode in degrees]
        for name, degrees in DEGREES.items()
    }


def test_prefill_gives_the_same_logits_at_every_degree(
    name: str, prefilled: dict[str, list[Prefilled]], expected: dict[str, Expected]
) -> None:
    for prompt in prefilled[name]:
        assert prompt.first.token_id == expected[name].tokens[0]
        torch.testing.assert_close(prompt.logits, expected[name].logits, rtol=0, atol=LOGIT_TOLERANCE)


@pytest.mark.parametrize("name", [name for name, degrees in DEGREES.items() if len(degrees) > 1])
def test_prefill_gives_the_same_kv_at_every_degree(
    name: str, model: Llama, prefilled: dict[str, list[Prefilled]]
) -> None:
    first, *others = prefilled[name]
    for layer in (0, model.config.layers // 2, model.config.layers - 1):
        k, v = first.kv.layer(layer)
        assert k.shape == (model.config.kv_heads, len(first.tokens), model.config.head_dim)
        for other in others:
            other_k, other_v = other.kv.layer(layer)
            torch.testing.assert_close(other_k, k, rtol=1e-3, atol=KV_TOLERANCE)
            torch.testing.assert_close(other_v, v, rtol=1e-3, atol=KV_TOLERANCE)


@pytest.fixture(scope="module")
def packed(model_file: Path) -> Llama:
    """The weights as CPUs serve them, many times as fast for a few tokens."""
    return load_model(model_file, WeightForm(packed=True))


@pytest.mark.parametrize(("ranks", "tokens"), [(1, 16), (2, NEW_TOKENS), (3, 16)])
def test_a_batch_of_all_prompts_decodes_the_same_tokens_from_every_prefill(
    ranks: int,
    tokens: int,
    model: Llama,
    packed: Llama,
    prefilled: dict[str, list[Prefilled]],
    expected: dict[str, Expected],
) -> None:
    prompts = [(name, prompt) for name, spread in prefilled.items() for prompt in spread]
    # Long prompts, and long answers, from every degree would only repeat what their equal KV has shown.
    short = 0 if tokens == NEW_TOKENS else 200
    one = {name: spread[min(ranks % 2, len(spread) - 1)] for name, spread in prefilled.items()}
    chosen = [(name, p) for name, p in prompts if len(p.tokens) <= short or p is one[name]]
    weights = packed if tokens == NEW_TOKENS else model
    streams = decode(weights, [prompt for _, prompt in chosen], tokens - 1, ranks, seed=ranks)
    for (name, _), stream in zip(chosen, streams, strict=True):
        assert stream == expected[name].tokens[:tokens], name


def test_eight_requests_at_once_get_the_tokens_they_get_alone(packed: Llama, expected: dict[str, Expected]) -> None:
    start = expected["200"].prompt
    prompts = [prefill(packed, start[: 20 + 23 * i], 1) for i in range(8)]
    together = decode(packed, prompts, 16, 2, seed=5)
    alone = [decode(packed, [prompt], 16, 1)[0] for prompt in prompts]
    assert together == alone
