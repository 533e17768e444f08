"""Schemes of choosing remote keys beside each other, on synthetic scores of three kinds, as a fixture.

1,024 tokens on 4 ranks, 8 heads of 32, a quarter of the remote keys. Values are random and of mean zero, so that an
error may exceed 1: means of noise are small.
    diffuse   scores of small random vectors
    local     near tokens alike, and a sink
    needle    the same, and runs of 4 keys that a few queries far away look for
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from prompts import BARE, Layer, error, random_layer, run_sparse
from test_retrieval import HEADS, QUARTER, RANKS, SIZE, TOKENS, by_chance, layer_with_needles
from test_strided import ONE_IN_FOUR, run_strided
from torch import Tensor

from csps_engine.csa.digest import limits
from csps_engine.csa.settings import Level
from csps_engine.csa.strided import StrideSettings

SEED = 10
NOTHING = dataclasses.replace(BARE, levels=(Level(0, 0.0),))


def diffuse() -> Layer:
    layer = random_layer(TOKENS, HEADS, HEADS, SIZE, SEED)
    layer.q *= 0.6
    return layer


KINDS: dict[str, Callable[[], Layer]] = {
    "diffuse": diffuse,
    "local": lambda: layer_with_needles(SEED, needles=0),
    "needle": lambda: layer_with_needles(SEED),
}


def by_mean_key(q: Tensor, digests: Tensor, _: int) -> Tensor:
    """The middle of the range: a digest that tells nothing of how far keys stray from it."""
    low, high = limits(digests)
    return q @ ((low + high) / 2).T * q.shape[-1] ** -0.5


def strided(settings: StrideSettings) -> Callable[[Layer], Tensor]:
    return lambda layer: run_strided(layer, [TOKENS // RANKS] * RANKS, settings)


SCHEMES: dict[str, Callable[[Layer], Tensor]] = {
    "own rank alone": lambda layer: run_sparse(layer, RANKS, NOTHING).out,
    "prototype, strided": strided(StrideSettings.prototype(ONE_IN_FOUR)),
    "disjoint, keys strided": strided(StrideSettings((ONE_IN_FOUR,))),
    "blocks by chance": lambda layer: run_sparse(layer, RANKS, QUARTER, by_chance).out,
    "blocks by mean key": lambda layer: run_sparse(layer, RANKS, QUARTER, by_mean_key).out,
    "blocks of 16": lambda layer: run_sparse(layer, RANKS, QUARTER).out,
    "blocks of 32": lambda layer: run_sparse(layer, RANKS, dataclasses.replace(QUARTER, block_tokens=32)).out,
    "blocks of 64": lambda layer: run_sparse(layer, RANKS, dataclasses.replace(QUARTER, block_tokens=64)).out,
}
MEASURED: dict[str, dict[str, float]] = {
    "own rank alone": {"diffuse": 2.75, "local": 2.37, "needle": 1.08},
    "prototype, strided": {"diffuse": 2.86, "local": 2.32, "needle": 1.28},
    "disjoint, keys strided": {"diffuse": 1.22, "local": 1.04, "needle": 1.41},
    "blocks by chance": {"diffuse": 1.11, "local": 1.26, "needle": 0.83},
    "blocks by mean key": {"diffuse": 1.19, "local": 0.92, "needle": 0.57},
    "blocks of 16": {"diffuse": 1.13, "local": 0.87, "needle": 0.43},
    "blocks of 32": {"diffuse": 1.14, "local": 0.96, "needle": 0.66},
    "blocks of 64": {"diffuse": 0.96, "local": 0.86, "needle": 0.72},
}
"""Relative error of the output over the queries after the first 256."""


@pytest.fixture(scope="module")
def errors() -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = {scheme: {} for scheme in SCHEMES}
    for kind, make in KINDS.items():
        layer = make()
        exact = layer.dense()[TOKENS // RANKS :]
        for scheme, run in SCHEMES.items():
            table[scheme][kind] = error(run(layer)[TOKENS // RANKS :], exact)
    return table


def test_every_scheme_errs_as_it_did(errors: dict[str, dict[str, float]]) -> None:
    for scheme, kinds in MEASURED.items():
        assert errors[scheme] == pytest.approx(kinds, abs=0.03), scheme


def test_levels_that_count_no_key_twice_and_keep_all_queries_err_less_unless_needles_are_missed(
    errors: dict[str, dict[str, float]],
) -> None:
    prototype, corrected, alone = (
        errors[scheme] for scheme in ("prototype, strided", "disjoint, keys strided", "own rank alone")
    )
    assert corrected["diffuse"] < 0.5 * prototype["diffuse"]
    assert corrected["local"] < 0.5 * prototype["local"]
    # Blind sampling misses needles: no better than not to look at all.
    assert min(prototype["needle"], corrected["needle"]) > alone["needle"]


def test_what_digests_tell_finds_needles_and_smaller_blocks_find_more(errors: dict[str, dict[str, float]]) -> None:
    needle = {scheme: kinds["needle"] for scheme, kinds in errors.items()}
    assert needle["blocks of 16"] < 0.8 * needle["blocks by mean key"] < 0.8 * needle["blocks by chance"]
    assert needle["blocks of 16"] < needle["blocks of 32"] < needle["blocks of 64"]


def test_where_scores_are_diffuse_no_choice_beats_the_budget(errors: dict[str, dict[str, float]]) -> None:
    assert errors["blocks of 16"]["diffuse"] == pytest.approx(errors["blocks by chance"]["diffuse"], rel=0.1)
