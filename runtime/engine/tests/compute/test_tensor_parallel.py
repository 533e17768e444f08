"""Cutting a model over tensor ranks changes neither logits nor tokens, alone and together with cut prompts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rank_threads import on_ranks
from tensor_ranks import generate, load_shards
from test_against_transformers import LOGIT_TOLERANCE, STORY
from tiny_llama import random_llama
from tiny_models import greedy, save_tiny
from transformers_oracle import TransformersOracle

from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import PrefillMode
from csps_engine.model.config import ModelError, Shard
from csps_engine.model.gguf_file import GgufFile
from csps_engine.model.llama import Llama
from csps_engine.model.load import load_model
from csps_engine.model.safetensors_dir import SafetensorsDir
from csps_engine.model.tensor_group import ONE_ROUND_BYTES, MeshTensorGroup
from csps_engine.model.weights import WeightForm

STEPS = 6


@pytest.fixture(scope="module")
def shards(model_file: Path) -> list[Llama]:
    return load_shards(GgufFile(model_file), 3, WeightForm(packed=True))


@pytest.mark.parametrize(("ranks", "mode"), [(1, "auto"), (2, "kvGather"), (3, "allToAll")])
def test_packed_shards_of_the_real_model_give_the_tokens_of_transformers(
    shards: list[Llama], oracle: TransformersOracle, ranks: int, mode: PrefillMode
) -> None:
    expected = oracle.expect(STORY, 200)
    found = generate(shards, expected.prompt, ranks, STEPS, mode)
    torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=LOGIT_TOLERANCE)
    assert found.tokens == expected.tokens[: STEPS + 1]


@pytest.mark.parametrize(("family", "ranks"), [("llama", 2), ("qwen2", 2), ("qwen3", 2), ("mistral", 4), ("qwen2", 4)])
def test_every_family_is_cut_with_its_biases_and_norms(tmp_path: Path, family: str, ranks: int) -> None:
    oracle = save_tiny(tmp_path, family, num_attention_heads=8, num_key_value_heads=2, head_dim=8)
    prompt = [(7 * i) % 97 for i in range(150)]
    found = generate(load_shards(SafetensorsDir(tmp_path), ranks), prompt, 2, 6)
    logits, tokens = greedy(oracle, prompt, 6)
    torch.testing.assert_close(found.logits, logits, rtol=0, atol=2e-4)
    assert found.tokens == tokens


@pytest.mark.parametrize("mode", ["kvGather", "allToAll"])
@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 6])
def test_prompts_of_any_length_are_cut_over_ranks_of_three_tensor_ranks(
    tmp_path: Path, ranks: int, mode: PrefillMode
) -> None:
    oracle = save_tiny(tmp_path, num_attention_heads=9, num_key_value_heads=3, hidden_size=72, head_dim=8)
    shards = load_shards(SafetensorsDir(tmp_path), 3)
    for length in (1, 65, 449):
        prompt = [(11 * i) % 97 for i in range(length)]
        found = generate(shards, prompt, ranks, 3, mode)
        logits, tokens = greedy(oracle, prompt, 3)
        torch.testing.assert_close(found.logits, logits, rtol=0, atol=2e-4)
        assert found.tokens == tokens


def test_a_shard_holds_its_part_alone(tmp_path: Path) -> None:
    save_tiny(tmp_path)
    whole = load_model(tmp_path)
    for part in load_shards(SafetensorsDir(tmp_path), 2):
        assert (part.config.heads, part.config.kv_heads, part.config.ffn) == (3, 1, 48)
        for half, full in zip(part.weights.layers, whole.weights.layers, strict=True):
            for name in ("qkv", "out", "gate_up", "down"):
                assert 2 * getattr(half, name).nbytes == getattr(full, name).nbytes


@pytest.mark.parametrize("tokens", [0, 1, 2, 50, 701])
def test_a_sum_is_the_same_on_every_rank_whatever_its_size(tokens: int) -> None:
    def part(rank: int) -> torch.Tensor:
        return torch.randn(tokens, 40, generator=torch.Generator().manual_seed(rank))

    sums = on_ranks(3, lambda mesh: MeshTensorGroup(mesh).sum(part(mesh.rank)))
    assert all(found.equal(sums[0]) for found in sums)
    torch.testing.assert_close(sums[0], part(0) + part(1) + part(2))


def test_a_large_sum_sends_what_a_ring_would() -> None:
    tokens, width = 300, 64
    assert tokens * width * 4 > ONE_ROUND_BYTES

    def sent(mesh: Mesh) -> int:
        MeshTensorGroup(mesh).sum(torch.ones(tokens, width))
        return mesh.sent_bytes

    assert on_ranks(3, sent) == [2 * 2 * tokens // 3 * width * 4] * 3


@pytest.mark.parametrize(
    ("ranks", "complaint"),
    [
        (2, "tensor parallelism 2: it must divide the 9 query heads"),
        (9, "tensor parallelism 9: it must divide the FFN width 40"),
        (27, "tensor parallelism 27: it must divide the 9 query heads"),
    ],
)
def test_a_model_that_cannot_be_cut_evenly_is_refused(ranks: int, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        Shard(0, ranks).check(random_llama(9, 3).config)
