"""Needles: keys far away that a few queries need. Choosing by content finds them, chance and nearness do not."""

from __future__ import annotations

import dataclasses

import torch
from prompts import BARE, Layer, error, run_sparse
from torch import Tensor

from csps_engine.csa.settings import Level

TOKENS, HEADS, SIZE, RANKS = 1024, 8, 32, 4
QUARTER = dataclasses.replace(BARE, block_tokens=16, sink_tokens=16, recent_blocks=1)


def layer_with_needles(seed: int, needles: int = 6) -> Layer:
    """Locality, a sink, and per head some runs of 4 keys in the first half that 24 queries of the second look for."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw)

    walk = (normal(TOKENS, HEADS, SIZE) * 0.35).cumsum(0)
    walk = walk / walk.norm(dim=-1, keepdim=True).clamp_min(1e-6) * SIZE**0.5
    sink = normal(HEADS, SIZE)
    sink = sink / sink.norm(dim=-1, keepdim=True)
    q = 0.45 * walk + 0.5 * normal(TOKENS, HEADS, SIZE) + 3 * sink
    k = walk + 0.5 * normal(TOKENS, HEADS, SIZE)
    k[:4] += 5 * sink
    for head in range(HEADS):
        for _ in range(needles):
            at = int(torch.randint(8, TOKENS // 2, (1,), generator=draw))
            look = normal(SIZE)
            look = 7 * look / look.norm()
            k[at : at + 4, head] += look
            q[torch.randint(TOKENS // 2, TOKENS, (24,), generator=draw), head] += look
    return Layer(q, k.transpose(0, 1).contiguous(), normal(HEADS, TOKENS, SIZE))


def by_chance(q: Tensor, digests: Tensor, _: int) -> Tensor:
    return torch.rand(len(digests), generator=torch.Generator().manual_seed(len(digests))).expand(len(q), -1)


def test_choosing_by_content_beats_chance_and_chance_beats_nearness() -> None:
    for seed in (10, 11):
        layer = layer_with_needles(seed)
        exact = layer.dense()
        local = run_sparse(layer, RANKS, dataclasses.replace(BARE, levels=(Level(0, 0.0),)))
        random = run_sparse(layer, RANKS, QUARTER, by_chance)
        content = run_sparse(layer, RANKS, QUARTER)
        errors = [error(run.out, exact) for run in (content, random, local)]
        assert errors[0] < 0.6 * errors[1] < 0.9 * 0.6 * errors[2]
        recall = [run.reports[0].mass_mean for run in (content, random, local)]
        assert recall == sorted(recall, reverse=True)
        fetched = [run.reports[0].fetched_bytes for run in (content, random)]
        assert fetched[0] == fetched[1] <= 0.27 * content.reports[0].available_bytes


def test_one_query_alone_brings_its_block() -> None:
    # Everyone else looks elsewhere: the key stands in rank 1's early chunk, the query in rank 2's late one.
    draw = torch.Generator().manual_seed(5)
    layer = Layer(*(torch.randn(shape, generator=draw) for shape in [(1024, 2, 32), (2, 1024, 32), (2, 1024, 32)]))
    look = torch.zeros(32)
    look[3] = 12.0
    layer.k[:, 170] = look
    layer.q[700] = look
    tight = dataclasses.replace(BARE, levels=(Level(0, 0.05),))
    run = run_sparse(layer, RANKS, tight)
    exact = layer.dense()
    torch.testing.assert_close(run.out[700], exact[700], rtol=0, atol=1e-3)
    blind = run_sparse(layer, RANKS, dataclasses.replace(tight, levels=(Level(0, 0.0),)))
    assert error(blind.out[700], exact[700]) > 0.5


def test_coverage_is_the_share_of_attention_that_was_held() -> None:
    # All queries audited: what is reported is what the written-out softmax gives to the keys that were there.
    layer = layer_with_needles(12)
    settings = dataclasses.replace(BARE, levels=(Level(0, 0.0),), audits=TOKENS)
    reports = run_sparse(layer, RANKS, settings).reports
    rank = torch.tensor([min(c, 2 * RANKS - 1 - c) for c in range(2 * RANKS)]).repeat_interleave(TOKENS // (2 * RANKS))
    scores = torch.einsum("thd,hsd->hts", layer.q, layer.k) * SIZE**-0.5
    ahead = torch.ones(TOKENS, TOKENS, dtype=torch.bool).triu(1)
    weights = scores.masked_fill(ahead, float("-inf")).softmax(-1)
    held = (weights * (rank[:, None] == rank[None, :])).sum(-1)
    for report in reports:
        assert report.audited == TOKENS * HEADS
        assert abs(report.mass_mean - float(held.mean())) < 1e-4
        assert abs(report.mass_p01 - float(held.flatten().quantile(0.01))) < 2e-3


def test_streaming_heads_fetch_sinks_and_recent_blocks_alone() -> None:
    layer = layer_with_needles(13)
    streaming = (tuple(0.0 if head == 3 else 1.0 for head in range(HEADS)),)
    whole = dataclasses.replace(QUARTER, levels=(Level(0, 1.0),))
    one = run_sparse(layer, RANKS, dataclasses.replace(whole, tolerances=streaming)).reports
    everyone = run_sparse(layer, RANKS, whole).reports
    for all_heads, one_head in zip(everyone, one, strict=True):
        assert one_head.level_bytes[0] * HEADS == all_heads.level_bytes[0] > 0
        unasked = [report.fetched_bytes - report.level_bytes[0] for report in (all_heads, one_head)]
        assert unasked[0] == unasked[1] > 0


def test_a_tolerance_leaves_out_blocks_that_nobody_needs() -> None:
    # Queries that look at their own rank's keys alone: the bound on any other block is far below what they hold.
    layer = layer_with_needles(14, needles=0)
    wide = dataclasses.replace(QUARTER, levels=(Level(0, 1.0),))
    layer.k[:, :, 0] = 0.0
    layer.q[:, :, 0] = 0.0
    rank = torch.tensor([min(c, 2 * RANKS - 1 - c) for c in range(2 * RANKS)]).repeat_interleave(TOKENS // (2 * RANKS))
    marks = torch.nn.functional.one_hot(rank, RANKS).float() * 30
    layer.k[:, :, :RANKS] = marks
    layer.q[:, :, :RANKS] = marks.unsqueeze(1)
    picky = run_sparse(layer, RANKS, dataclasses.replace(wide, tolerance=0.01, gamma=0.01))
    assert all(report.level_bytes[0] == 0 < report.skipped_bytes for report in picky.reports)
    assert error(picky.out, layer.dense()) < 1e-4
    assert sum(run_sparse(layer, RANKS, wide).reports[0].level_bytes) > 0


def test_layers_before_the_first_sparse_one_are_dense_and_not_counted() -> None:
    layer = layer_with_needles(15)
    settings = dataclasses.replace(BARE, levels=(Level(0, 0.0),), dense_layers=2)
    dense = run_sparse(layer, RANKS, settings, layers=2)
    torch.testing.assert_close(dense.out, layer.dense(), rtol=0, atol=1e-4)
    assert all((r.layers, r.audited, r.mass_mean, r.mass_p01) == (0, 0, 1.0, 1.0) for r in dense.reports)
    sparse = run_sparse(layer, RANKS, settings, layers=3)
    assert error(sparse.out, layer.dense()) > 0.1
    assert all(report.layers == 1 for report in sparse.reports)
