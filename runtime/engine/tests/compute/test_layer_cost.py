"""What the cost model counts of a layer, beside what ranks do."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_kv import prefill
from rank_threads import on_ranks
from tiny_llama import random_llama

from csps_engine.comm.mesh import Mesh
from csps_engine.pipeline.cost import Speeds, layer_seconds, layer_work, token_flops
from csps_engine.pipeline.partition import zigzag
from csps_engine.pipeline.stopwatch import Stopwatch

MODEL = random_llama(heads=4, kv_heads=2)
CONFIG = MODEL.config
PLAIN = Speeds(1e10, 1e10, 1e9, 1e-4, 1e-4)
TOKEN_ROWS_BYTES = 16
"""Of the sampled token, which its owner tells each other rank."""


@pytest.mark.parametrize(("tokens", "ranks", "most"), [(1024, 1, 1024), (1024, 3, 384), (1024, 4, 256), (100, 4, 64)])
def test_work_is_that_of_the_rank_with_most_pages(tokens: int, ranks: int, most: int) -> None:
    work = layer_work(CONFIG, "kvGather" if ranks > 1 else "local", tokens, ranks, 4)
    assert work.linear_flops == most * token_flops(CONFIG)


@given(st.integers(1, 5000), st.integers(1, 8))
def test_the_busiest_rank_has_at_least_an_even_share_and_at_most_all(tokens: int, ranks: int) -> None:
    work = layer_work(CONFIG, "kvGather", tokens, ranks, 4)
    flops = work.linear_flops + work.local_flops + work.remote_flops
    whole = tokens * token_flops(CONFIG) + 2 * CONFIG.heads * CONFIG.head_dim * tokens * tokens
    assert whole / ranks * (1 - 1e-9) <= flops <= whole * (1 + 1e-9)


@settings(max_examples=10)
@given(st.integers(1, 500), st.integers(2, 4))
def test_no_rank_sends_more_than_is_counted_at_any_length(tokens: int, ranks: int) -> None:
    run = prefill(MODEL, tuple(1 + i % 50 for i in range(tokens)), ranks, "kvGather")
    counted = CONFIG.layers * layer_work(CONFIG, "kvGather", tokens, ranks, 4).inward_bytes
    sent = max(result.sent_bytes for result in run.results)
    assert sent <= counted + (ranks - 1) * TOKEN_ROWS_BYTES


def test_a_causal_kernel_costs_its_tiles_but_never_more_than_no_mask() -> None:
    tiled = dataclasses.replace(PLAIN, masked_keys=256)
    pair = 4 * CONFIG.heads * CONFIG.head_dim
    for tokens, vain in ((4096, 256), (512, 256), (128, 64)):
        work = layer_work(CONFIG, "local", tokens, 1, 4)
        more = layer_seconds(work, tiled, 1) - layer_seconds(work, PLAIN, 1)
        assert more == pytest.approx(pair * tokens * vain / tiled.attention_flops)


def test_joining_partial_results_and_meeting_cost_only_where_ranks_exchange() -> None:
    joined = dataclasses.replace(PLAIN, merge_seconds=1e-5, meeting_seconds=1e-2)
    alone = layer_work(CONFIG, "local", 1024, 1, 4)
    assert layer_seconds(alone, joined, 1) == layer_seconds(alone, PLAIN, 1)
    spread = layer_work(CONFIG, "kvGather", 1024, 2, 4)
    early, late = zigzag(1024, 2)[1]
    # The last rank's late chunk joins the early one's keys, both join what comes before.
    assert spread.merged_queries == late.tokens + early.tokens + late.tokens
    more = layer_seconds(spread, joined, 1) - layer_seconds(spread, PLAIN, 1)
    assert more == pytest.approx(spread.merged_queries * 1e-5 + 1e-2)


def test_ranks_do_timed_work_as_often_and_are_told_the_same() -> None:
    def work(mesh: Mesh) -> tuple[list[int], list[float]]:
        done = [0, 0]

        def count(which: int) -> None:
            done[which] += 1

        watch = Stopwatch(mesh)
        told = [watch.slowest(lambda: count(0)), watch.once(lambda: count(0))]
        told.append(watch.meeting(lambda: count(0), lambda: (count(1), mesh.barrier())[0]))
        return done, told

    one, other = on_ranks(2, work)
    assert one == other
    assert all(count > 1 for count in one[0])
    assert all(seconds >= 0 for seconds in one[1])
