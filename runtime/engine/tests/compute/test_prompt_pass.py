"""Prompts that are computed in one pass, beside the same prompts by themselves."""

from __future__ import annotations

import torch

from bench.parties import Kept
from csps_engine.comm.local import LocalMesh
from csps_engine.core.plan import PrefillJob, Sampling
from csps_engine.loop.prompt_pass import PromptPass
from csps_engine.pipeline.prefill import PrefillRunner
from tests.compute.tiny_llama import random_llama

PROMPTS = [(1, 5, 9, 2), (7,), tuple(range(40))]


def jobs() -> list[PrefillJob]:
    drawn = Sampling(temperature=1.0, seed=3, logprobs=2)
    return [PrefillJob(f"r{n}", prompt, drawn if n else Sampling()) for n, prompt in enumerate(PROMPTS)]


def test_a_pass_gives_each_prompt_the_kv_and_the_token_that_it_has_alone() -> None:
    model = random_llama(6, 2)
    sinks = [Kept() for _ in PROMPTS]
    whole = PromptPass(model, jobs(), sinks)
    members = whole.members()
    while whole.layers_done < whole.layers:
        members[0].step()
    for job, sink, member in zip(jobs(), sinks, members, strict=True):
        alone = Kept()
        expected, result = PrefillRunner(model, LocalMesh()).run(job, alone), member.finish()
        assert result.sampled.token_id == expected.sampled.token_id
        assert [token for token, _ in result.sampled.top] == [token for token, _ in expected.sampled.top]
        assert (result.kv_bytes, result.mode) == (expected.kv_bytes, expected.mode)
        assert sink.layers.keys() == alone.layers.keys()
        for layer, (k, v) in sink.layers.items():
            torch.testing.assert_close(k, alone.layers[layer][0], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(v, alone.layers[layer][1], rtol=1e-5, atol=1e-5)


def test_the_others_of_a_pass_go_on_without_one_that_left() -> None:
    model = random_llama(6, 2)
    sinks = [Kept() for _ in PROMPTS]
    whole = PromptPass(model, jobs(), sinks)
    members = whole.members()
    members[1].step()
    members[0].leave()
    while whole.layers_done < whole.layers:
        members[2].step()
    assert [len(sink.layers) for sink in sinks] == [1, whole.layers, whole.layers]
    expected = PrefillRunner(model, LocalMesh()).run(jobs()[2], Kept())
    assert members[2].finish().sampled.token_id == expected.sampled.token_id
