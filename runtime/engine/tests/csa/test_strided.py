"""The position-strided form: exact when nothing is thinned, and what its defects cost."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from prompts import BARE, Layer, error, random_layer, run_sparse
from rank_threads import on_ranks
from test_retrieval import QUARTER, RANKS, layer_with_needles
from torch import Tensor

from csps_engine.comm.mesh import Mesh
from csps_engine.csa.settings import CsaError, Level
from csps_engine.csa.strided import StridedAttention, StrideLevel, StrideSettings

ALL_KEYS = (StrideLevel(2, 1), StrideLevel(4, 1))
ONE_IN_FOUR = StrideLevel(4, 4)


def run_strided(layer: Layer, counts: list[int], settings: StrideSettings) -> Tensor:
    def work(mesh: Mesh) -> Tensor:
        start = sum(counts[: mesh.rank])
        own = slice(start, start + counts[mesh.rank])
        attention = StridedAttention(mesh, counts, settings)
        return attention.attend(layer.q[own], layer.k[:, own].contiguous(), layer.v[:, own].contiguous())

    return torch.cat(on_ranks(len(counts), work))


def test_disjoint_levels_with_all_keys_are_dense_attention() -> None:
    layer = random_layer(300)
    out = run_strided(layer, [100, 90, 64, 46], StrideSettings(ALL_KEYS))
    torch.testing.assert_close(out, layer.dense(), rtol=0, atol=1e-5)


def test_levels_that_hold_smaller_ones_again_count_twice() -> None:
    layer = random_layer(300)
    out = run_strided(layer, [75] * 4, dataclasses.replace(StrideSettings(ALL_KEYS), overlap=True))
    assert error(out, layer.dense()) > 0.05


@pytest.mark.parametrize("drop", [False, True])
def test_each_head_sees_its_own_share_of_the_tokens_and_the_remainder_unless_dropped(drop: bool) -> None:
    # Equal scores and one-hot values show which keys a query counted.
    layer = Layer(torch.ones(20, 2, 20), torch.zeros(2, 20, 20), torch.eye(20).repeat(2, 1, 1))
    settings = dataclasses.replace(StrideSettings((StrideLevel(2, 4),)), drop_remainder=drop)
    out = run_strided(layer, [10, 10], settings)
    for head, remote in enumerate([[0, 4] if drop else [0, 4, 8], [1, 5] if drop else [1, 5, 9]]):
        assert out[13, head].nonzero().flatten().tolist() == [*remote, 10, 11, 12, 13]


def test_a_thinned_query_keeps_its_own_rank_alone() -> None:
    layer = Layer(torch.ones(20, 2, 20), torch.zeros(2, 20, 20), torch.eye(20).repeat(2, 1, 1))
    out = run_strided(layer, [10, 10], dataclasses.replace(StrideSettings((StrideLevel(2, 4),)), thin_queries=True))
    assert out[14, 0].nonzero().flatten().tolist() == [0, 4, 8, 10, 11, 12, 13, 14]
    assert out[15, 0].nonzero().flatten().tolist() == [10, 11, 12, 13, 14, 15]


def test_a_rescaled_level_weighs_what_all_its_keys_would() -> None:
    layer = Layer(torch.ones(16, 1, 16), torch.zeros(1, 16, 16), torch.eye(16).repeat(1, 1, 1))
    out = run_strided(layer, [8, 8], StrideSettings((StrideLevel(2, 4),), rescale=True))
    torch.testing.assert_close(out[15, 0, :8].sum(), torch.tensor(0.5))


def test_correcting_the_defects_helps_and_choosing_by_content_helps_more() -> None:
    noise = random_layer(1024, 8, 8, 32)
    noise.q *= 0.6
    counts = [256] * RANKS
    prototype, corrected = StrideSettings.prototype(ONE_IN_FOUR), StrideSettings((ONE_IN_FOUR,))
    remote = slice(256, None)  # the first rank has no other before it
    errors = [error(run_strided(noise, counts, s)[remote], noise.dense()[remote]) for s in (prototype, corrected)]
    assert errors[1] < 0.6 * errors[0]

    needles = layer_with_needles(10)
    exact = needles.dense()
    strided = min(error(run_strided(needles, counts, s), exact) for s in (prototype, corrected))
    content = error(run_sparse(needles, RANKS, QUARTER).out, exact)
    local = error(run_sparse(needles, RANKS, dataclasses.replace(BARE, levels=(Level(0, 0.0),))).out, exact)
    assert content < 0.6 * strided
    assert strided > 0.8 * local


def test_levels_without_ranks_or_tokens_are_refused() -> None:
    for ranks, degree in ((0, 2), (2, 0)):
        with pytest.raises(CsaError, match="at least"):
            StrideLevel(ranks, degree)
