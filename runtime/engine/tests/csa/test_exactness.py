"""Where sparse attention must be exact, and what it may never do."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prompts import BARE, EVERYTHING, Layer, error, random_layer, run_sparse

from csps_engine.attention.attend import attend
from csps_engine.attention.partial import nothing
from csps_engine.csa.arrival import arrange
from csps_engine.csa.fetch import Keys
from csps_engine.csa.join import Reading, join
from csps_engine.csa.layout import Layout
from csps_engine.csa.settings import CsaSettings, Level
from csps_engine.csa.worth import Tiles

TOLERANCE = 1e-5


@settings(max_examples=20)
@given(
    tokens=st.integers(1, 700),
    ranks=st.integers(2, 5),
    heads=st.sampled_from([(9, 3), (8, 2), (4, 4), (6, 1)]),
    block=st.sampled_from([16, 32, 64]),
    tail=st.sampled_from([0, 5, 128, 400]),
    unasked=st.sampled_from([(0, 0), (64, 2), (100, 3)]),
)
def test_the_whole_budget_gives_dense_attention(
    tokens: int,
    ranks: int,
    heads: tuple[int, int],
    block: int,
    tail: int,
    unasked: tuple[int, int],
) -> None:
    layer = random_layer(tokens, *heads)
    full = dataclasses.replace(
        EVERYTHING, block_tokens=block, tail_tokens=tail, sink_tokens=unasked[0], recent_blocks=unasked[1]
    )
    torch.testing.assert_close(run_sparse(layer, ranks, full).out, layer.dense(), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("ranks", [2, 3])
def test_no_query_counts_a_key_twice_or_sees_one_behind_it(ranks: int) -> None:
    # Equal scores and one-hot values: an output row lists how often the query counted each key, over their number.
    tokens = 448
    layer = Layer(torch.ones(tokens, 2, tokens), torch.zeros(2, tokens, tokens), torch.eye(tokens).repeat(2, 1, 1))
    draw = torch.Generator().manual_seed(ranks)
    levels = (Level(2, 0.5), Level(0, 0.3))
    picky = dataclasses.replace(BARE, levels=levels, block_tokens=16, sink_tokens=64, recent_blocks=2, tail_tokens=128)
    run = run_sparse(layer, ranks, picky, lambda q, digests, _: torch.rand(len(q), len(digests), generator=draw))
    for position in range(tokens):
        for row in run.out[position]:
            counted = row.nonzero().flatten()
            assert counted.max() <= position
            torch.testing.assert_close(row[counted], torch.full((len(counted),), 1 / len(counted)))
    covered = (run.out > 0).sum(-1)[:, 0]
    assert (covered[-128:] == torch.arange(tokens - 127, tokens + 1)).all()
    assert (covered[:-128] < torch.arange(1, tokens - 127)).any()


def test_disjoint_levels_together_give_dense_attention() -> None:
    layer = random_layer(900)
    levels = (Level(1, 1.0), Level(2, 1.0), Level(4, 1.0))
    run = run_sparse(layer, 4, dataclasses.replace(EVERYTHING, levels=levels))
    torch.testing.assert_close(run.out, layer.dense(), rtol=0, atol=TOLERANCE)
    for report in run.reports:
        assert report.level_bytes[0] == 0
        assert min(report.level_bytes[1:]) > 0
        assert sum(report.level_bytes) == report.fetched_bytes == report.available_bytes


def test_keys_may_arrive_in_any_order() -> None:
    draw = torch.Generator().manual_seed(3)
    early, late = 64, 70
    layout = Layout(
        [((0, 64), (448, 512)), ((64, 128), (384, 448)), ((128, 192), (320, 384)), ((192, 256), (256, 320))], BARE
    )
    reading = Reading(1, 2, Tiles(early, early + late, 64), None, -math.inf)
    q = torch.randn(early + late, 4, 16, generator=draw)
    arrivals = []
    for sender in (0, 2, 3):
        taken = [torch.rand(2, 4, generator=draw) < 0.5 for _ in range(4)]
        rows = 32 * int(taken[sender].sum())
        keys = Keys(*(torch.randn(rows, 16, generator=draw) for _ in range(2)))
        arrivals.append(arrange([keys if s == sender else None for s in range(4)], taken, layout))
    local = attend(q, *(torch.randn(2, early + late, 16, generator=draw) for _ in range(2)), causal=True)
    results = []
    for order in itertools.permutations(arrivals):
        held = local
        for arrival in order:
            held = join(held, q, arrival, reading)
        results.append(held)
    for result in results[1:]:
        torch.testing.assert_close(result.out, results[0].out, rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(result.lse, results[0].lse, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("tail", [1, 100, 300])
def test_the_tail_is_exact_even_without_any_budget(ranks: int, tail: int) -> None:
    layer = random_layer(777)
    nothing_chosen = dataclasses.replace(BARE, levels=(Level(0, 0.0),), tail_tokens=tail)
    run = run_sparse(layer, ranks, nothing_chosen)
    exact = layer.dense()
    torch.testing.assert_close(run.out[-tail:], exact[-tail:], rtol=0, atol=TOLERANCE)
    assert error(run.out[:-tail], exact[:-tail]) > 0.1
    assert all(report.fetched_bytes == 0 for report in run.reports)


@pytest.mark.parametrize("scale", [120.0, -120.0])
def test_scores_in_the_hundreds_give_finite_outputs(scale: float) -> None:
    layer = random_layer(600)
    layer.q *= scale
    scores = torch.einsum("thd,hsd->ths", layer.q, layer.k.repeat_interleave(2, 0)) / 4
    assert scores.max() > 500
    assert scores.min() < -500
    for chosen in (BARE, EVERYTHING, CsaSettings(dense_tokens=0)):
        run = run_sparse(layer, 3, chosen)
        assert torch.isfinite(run.out).all()
        assert all(0 <= report.mass_p01 <= report.mass_mean <= 1 for report in run.reports)
    torch.testing.assert_close(run_sparse(layer, 3, EVERYTHING).out, layer.dense(), rtol=0, atol=1e-3)


def test_joining_nothing_changes_nothing() -> None:
    q = torch.randn(6, 4, 8)
    held = nothing(q)
    assert join(held, q, None, Reading(1, 2, Tiles(3, 6, 64), None, -math.inf)) is held
