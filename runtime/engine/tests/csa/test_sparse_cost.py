"""Sparse attention is taken where the cost model says that it pays, and nowhere else."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import pytest
from prompt_kv import KeptKv
from rank_threads import on_ranks
from tiny_llama import random_llama

from csps_engine.core.plan import PrefillJob
from csps_engine.csa.settings import CsaSettings
from csps_engine.pipeline.calibration import measure_speeds
from csps_engine.pipeline.cost import LayerWork, Speeds, layer_seconds, layer_work
from csps_engine.pipeline.forecast import Forecast
from csps_engine.pipeline.prefill import PrefillRunner
from csps_engine.pipeline.sparse_cost import MARGIN, MEASURED, shares, sparse_layer_seconds, sparse_work

MODEL = random_llama(heads=8, kv_heads=4, head_dim=64)
CONFIG = MODEL.config
SETTINGS = CsaSettings(dense_tokens=256)
SLOW_LINK = Speeds(1e10, 1e10, 1e6, 1e-4, 1e-4, 5e-3, 1e-5)
FAST_LINK = dataclasses.replace(SLOW_LINK, link_bytes=1e12)


@pytest.mark.parametrize(
    ("speeds", "tokens", "pays"),
    [
        (SLOW_LINK, 1024, True),
        (FAST_LINK, 1024, False),
        (FAST_LINK, 65_536, True),
        (SLOW_LINK, 256, False),
        (dataclasses.replace(FAST_LINK, choosing_token_seconds=1e-2), 65_536, False),
    ],
)
def test_it_pays_on_slow_links_and_for_long_prompts(speeds: Speeds, tokens: int, pays: bool) -> None:
    assert Forecast(CONFIG, 4, "kvGather", speeds).attention(tokens, 4, SETTINGS) == ("sparse" if pays else "dense")


def test_one_rank_has_nothing_to_choose_and_what_is_not_measured_is_done_as_asked() -> None:
    assert Forecast(CONFIG, 4, "kvGather", SLOW_LINK).attention(65_536, 1, SETTINGS) == "dense"
    assert Forecast(CONFIG, 4, "kvGather", None).attention(1024, 4, SETTINGS) == "sparse"


def test_what_pays_is_foreseen_to_save_the_margin() -> None:
    for tokens in (512, 1024, 2048, 4096, 8192, 16_384):
        sparse = sparse_layer_seconds(sparse_work(CONFIG, tokens, 4, 4, SETTINGS), FAST_LINK, tokens / 4)
        exact = layer_seconds(layer_work(CONFIG, "kvGather", tokens, 4, 4), FAST_LINK, 1)
        kind = Forecast(CONFIG, 4, "kvGather", FAST_LINK).attention(tokens, 4, SETTINGS)
        assert (kind == "sparse") == (sparse < (1 - MARGIN) * exact)


def test_what_is_read_falls_with_length_between_measured_lengths_and_is_theirs_beyond() -> None:
    assert shares(1025) == MEASURED[2048]
    for tokens, measured in MEASURED.items():
        assert shares(tokens) == pytest.approx(measured)
    assert shares(1_000_000) == pytest.approx(list(MEASURED.values())[-1])
    for shorter, longer in itertools.pairwise(range(2048, 10_000, 500)):
        assert all(a >= b for a, b in zip(shares(shorter), shares(longer), strict=True))


class _Never:
    """A rule by which sparse attention never pays."""

    def choose(self, work: LayerWork, allowed: Sequence[int]) -> int:
        return 1

    def pays(self, sparse: LayerWork, exact: LayerWork, allowed: Sequence[int], own_tokens: float) -> bool:
        return False


def test_a_prompt_for_which_it_does_not_pay_is_computed_exactly() -> None:
    job = PrefillJob("request", tuple(1 + i % 50 for i in range(512)), attention="sparse")
    taken = on_ranks(2, lambda mesh: PrefillRunner(MODEL, mesh, SETTINGS).run(job, KeptKv()))
    left = on_ranks(2, lambda mesh: PrefillRunner(MODEL, mesh, SETTINGS, _Never()).run(job, KeptKv()))
    assert all(result.sparse is not None for result in taken)
    assert all(result.sparse is None for result in left)


def test_ranks_measure_what_choosing_costs_them_alike() -> None:
    first, second = on_ranks(2, lambda mesh: measure_speeds(MODEL, mesh))
    assert first == second
    assert first.choosing_seconds + first.choosing_token_seconds > 0
