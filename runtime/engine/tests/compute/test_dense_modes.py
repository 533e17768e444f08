"""On the real model, every dense mode at every sequence and tensor degree gives what transformers gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from prompt_kv import Prefilled, decode, prefill
from tensor_ranks import generate, load_shards
from test_against_transformers import LOGIT_TOLERANCE, STORY
from transformers_oracle import Expected, TransformersOracle

from csps_engine.core.plan import PrefillMode
from csps_engine.model.gguf_file import GgufFile
from csps_engine.model.llama import Llama

STEPS = 2
"""Shows that the KV is right; what steps do is held over more of them where ranks and tensor ranks are few."""
STREWN_STEPS = 6
SHORT, LONG = 200, 777
"""Neither is a multiple of a page. Of the long one every rank of six has some in both forms, of the short one not.
Whole models alone compute the long one: shards are held to many lengths on small models."""
DENSE: tuple[tuple[int, PrefillMode], ...] = (
    (1, "auto"),
    (2, "kvGather"),
    (2, "allToAll"),
    (3, "kvGather"),
    (3, "allToAll"),
    (4, "kvGather"),
    (4, "allToAll"),
    (6, "kvGather"),
    (6, "allToAll"),
)


@pytest.fixture(scope="module")
def shards_of(model: Llama, model_file: Path) -> dict[int, list[Llama]]:
    """By tensor degree."""
    return {1: [model], 3: load_shards(GgufFile(model_file), 3)}


@pytest.fixture(scope="module")
def long(oracle: TransformersOracle) -> Expected:
    return oracle.expect(STORY, LONG)


@pytest.mark.parametrize("tensor_degree", [1, 3])
@pytest.mark.parametrize(("ranks", "mode"), DENSE)
def test_each_mode_and_degree_gives_the_logits_and_tokens_of_transformers(
    tensor_degree: int,
    ranks: int,
    mode: PrefillMode,
    shards_of: dict[int, list[Llama]],
    oracle: TransformersOracle,
    long: Expected,
) -> None:
    for expected in (oracle.expect(STORY, SHORT), *([long] if (ranks, tensor_degree) == (6, 1) else [])):
        found = generate(shards_of[tensor_degree], expected.prompt, ranks, STEPS, mode)
        torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=LOGIT_TOLERANCE)
        assert found.tokens == expected.tokens[: STEPS + 1]


@pytest.fixture(scope="module")
def prefilled(model: Llama, oracle: TransformersOracle, long: Expected) -> list[Prefilled]:
    return [prefill(model, one.prompt, 1) for one in (long, oracle.expect(STORY, SHORT))]


@pytest.mark.parametrize("holders", range(1, 9))
def test_decode_gives_the_same_tokens_from_pages_strewn_over_any_number_of_holders(
    holders: int, model: Llama, prefilled: list[Prefilled], oracle: TransformersOracle, long: Expected
) -> None:
    streams = decode(model, prefilled, STREWN_STEPS, holders, seed=10 + holders)
    assert streams == [expected.tokens[: STREWN_STEPS + 1] for expected in (long, oracle.expect(STORY, SHORT))]
