"""Sparse prefill of whole prompts: when it is taken, what it moves, what it reports."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from prompt_kv import KeptKv, RecordingLlama
from rank_threads import on_ranks
from tiny_llama import random_llama
from torch import Tensor

from csps_engine.core.plan import AttentionKind, PrefillJob, PrefillMode, PrefillResult
from csps_engine.csa.settings import CsaSettings, Level
from csps_engine.model.llama import Llama
from csps_engine.pipeline.mode import ModeError
from csps_engine.pipeline.prefill import PrefillRunner

TOLERANCE = 2e-4
SHORT = CsaSettings(dense_tokens=0)


def prompt_of(tokens: int, seed: int = 0) -> tuple[int, ...]:
    return tuple(torch.randint(0, 61, (tokens,), generator=torch.Generator().manual_seed(seed)).tolist())


def prefill(
    model: Llama,
    tokens: int,
    ranks: int,
    settings: CsaSettings,
    attention: AttentionKind = "sparse",
    mode: PrefillMode = "auto",
) -> tuple[Tensor, list[PrefillResult], KeptKv]:
    """Logits [vocab], each rank's result, and the KV."""
    recording, kv = RecordingLlama(model), KeptKv()
    job = PrefillJob("request", prompt_of(tokens), mode=mode, attention=attention)
    results = on_ranks(ranks, lambda mesh: PrefillRunner(recording, mesh, settings).run(job, kv))
    assert all(result.sampled == results[0].sampled for result in results)
    return recording.seen[0][0], results, kv


def test_the_last_logits_are_dense_where_the_keys_are() -> None:
    # In one layer keys do not depend on attention, and the last token is in the exact tail.
    model = random_llama(9, 3, layers=1)
    stingy = dataclasses.replace(SHORT, levels=(Level(0, 0.0),), quality_floor=0.0)
    dense, _, _ = prefill(model, 900, 3, stingy, "dense")
    sparse, results, _ = prefill(model, 900, 3, stingy)
    torch.testing.assert_close(sparse, dense, rtol=0, atol=TOLERANCE)
    assert any(result.sparse is not None and result.sparse.skipped_bytes > 0 for result in results)


@pytest.mark.parametrize("heads", [(9, 3), (8, 2), (6, 1)])
@pytest.mark.parametrize("ranks", [2, 4])
def test_the_whole_budget_gives_dense_logits_and_kv(heads: tuple[int, int], ranks: int) -> None:
    model = random_llama(*heads, layers=3)
    every = dataclasses.replace(SHORT, levels=(Level(0, 1.0),), tolerance=0.0, skip_share=0.0, skip_weight=0.0)
    full = dataclasses.replace(every, packing="plain", dense_layers=1)
    dense, _, dense_kv = prefill(model, 700, ranks, full, "dense")
    sparse, results, kv = prefill(model, 700, ranks, full)
    torch.testing.assert_close(sparse, dense, rtol=0, atol=TOLERANCE)
    for layer in range(3):
        for one, other in zip(kv.layer(layer), dense_kv.layer(layer), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=TOLERANCE)
    for result in results:
        assert result.sparse is not None
        assert (result.sparse.layers, result.sparse.skipped_bytes, result.sparse.cut_blocks) == (2, 0, 0)
        assert result.sparse.mass_p01 >= 0.999
        assert result.sparse.audited == 2 * ranks * full.audits * heads[0]


def test_dense_is_the_default_and_moves_what_it_did() -> None:
    model = random_llama(8, 2)
    dense, results, _ = prefill(model, 512, 2, SHORT, "dense")
    assert PrefillJob("request", (1,)).attention == "dense"
    assert all(result.sparse is None for result in results)
    share, c = 256, model.config
    whole = c.layers * share * 2 * c.kv_heads * c.head_dim * 4
    # Rank 0's queries may see both of rank 1's chunks; rank 1's only the early one of rank 0.
    assert [r.sent_bytes - 16 for r in results] == [whole // 2, whole]
    assert torch.isfinite(dense).all()


@pytest.mark.parametrize(("tokens", "ranks"), [(1024, 2), (2000, 1)])
def test_short_prompts_and_single_ranks_stay_dense(tokens: int, ranks: int) -> None:
    _, results, _ = prefill(random_llama(4, 4), tokens, ranks, CsaSettings())
    assert all(result.sparse is None for result in results)


def test_what_cannot_be_done_is_refused_before_any_exchange() -> None:
    model = random_llama(4, 4)
    with pytest.raises(ModeError, match="no allToAll form"):
        prefill(model, 400, 2, SHORT, mode="allToAll")
    with pytest.raises(ModeError, match="holds 2 ranks, the group has 4"):
        prefill(model, 400, 4, dataclasses.replace(SHORT, levels=(Level(2, 0.5),)))


@pytest.mark.parametrize("budget", [0.0, 0.3, 1.0])
def test_bytes_sent_are_those_of_the_formula(budget: float) -> None:
    """Per sparse layer, over P ranks with n = N/P tokens, blocks of B, W tail and A audited queries a rank:

    digests  P (P-1) (n/B) k (2e + 4)         choices  P (P-1) k (n/B)/8
    queries  (P-1) (W + P A) h e b            answers  (P-1) (W h (e b + 4) + P A h 4)
    keys     what was fetched: tokens k (2e + 2) in 8 bits
    """
    model, ranks, layers = random_llama(8, 2, layers=2), 4, 2
    c, tokens, block, tail, audits, element = model.config, 2048, 32, 64, 4, 4
    settings = dataclasses.replace(SHORT, levels=(Level(2, budget), Level(0, budget)), quality_floor=0.0, tolerance=0.0)
    _, results, _ = prefill(model, tokens, ranks, settings)
    share, others = tokens // ranks, ranks - 1
    reports = [result.sparse for result in results]
    fetched = sum(report.fetched_bytes for report in reports if report is not None)
    row, packed = 2 * c.head_dim * element, 2 * c.head_dim + 2
    digests = ranks * others * share // block * c.kv_heads * (2 * c.head_dim + 4)
    choices = ranks * others * c.kv_heads * (share // block // 8)
    queries = others * (tail + ranks * audits) * c.heads * c.head_dim * element
    answers = others * (tail * c.heads * (c.head_dim * element + 4) + ranks * audits * c.heads * 4)
    ending = ranks * others * (16 + 1002 * 8)
    expected = layers * (digests + choices + queries + answers) + fetched + ending
    assert sum(result.sent_bytes for result in results) == expected
    # Unasked: 64 sinks except on their owner, and 32 tokens before each chunk that follows another rank's.
    unasked = [32, 64 + 64, 64 + 64, 64 + 32]
    for rank, report in enumerate(reports):
        assert report is not None
        # Of 2P chunks a rank sees all but its own late one, what follows it, and its own early one.
        visible = layers * c.kv_heads * (2 * ranks - 2 - rank) * tokens // (2 * ranks)
        assert (report.available_rows, report.available_bytes) == (visible, visible * row)
        assert report.fetched_bytes == report.fetched_rows * packed
        chosen = sum(report.level_bytes)
        assert report.fetched_bytes - chosen == layers * c.kv_heads * unasked[rank] * packed
        whole_blocks = layers * 2 * block
        assert report.fetched_rows <= max(budget * visible + whole_blocks, layers * c.kv_heads * unasked[rank])
        assert budget < 1 or report.fetched_rows == visible


def test_coverage_below_the_floor_lifts_the_budget() -> None:
    model = random_llama(8, 2, layers=4)
    stingy = dataclasses.replace(SHORT, levels=(Level(0, 0.0),), dense_layers=0, skip_share=0.0, skip_weight=0.0)
    rows = []
    for floor in (0.0, 1.0):
        _, results, _ = prefill(model, 900, 3, dataclasses.replace(stingy, quality_floor=floor))
        rows.append([result.sparse.fetched_rows for result in results if result.sparse is not None])
    # The first rank audits early queries, to which nothing is remote.
    assert rows[0][0] == rows[1][0]
    assert all(more > 2 * less for less, more in zip(rows[0][1:], rows[1][1:], strict=True))
