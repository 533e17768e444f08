"""Decode moves the same bytes at any context, and they are those of the formula; what moves KV grows with it."""

from __future__ import annotations

import pytest
from rank_threads import on_ranks
from tiny_llama import random_llama

from bench.baselines.kv_moving import KvMovingDecode
from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import PAGE_TOKENS, DecodeRow, PageTable, Place, StepPlan
from csps_engine.kv.pool import KvPool
from csps_engine.pipeline.decode import DecodeRunner

MODEL = random_llama(6, 2, head_dim=16)
FLOAT_BYTES = 4
TOKEN_ROW_BYTES = 16
"""Two fp64 numbers tell every rank what was sampled."""


def sent(ranks: int, context: int, batch: int, runner: type[DecodeRunner] = DecodeRunner) -> list[int]:
    """Bytes that each rank sent in one step of requests whose pages are dealt to all ranks, homes in turn."""
    pages = context // PAGE_TOKENS + 1
    places = [[Place(p % ranks, n * pages + p) for p in range(pages)] for n in range(batch)]
    rows = tuple(DecodeRow(str(n), n % ranks, n, context) for n in range(batch))
    tables = {str(n): PageTable(places[n], context) for n in range(batch)}

    def step(mesh: Mesh) -> int:
        pool = KvPool(MODEL.config.kv_shape("float32"), batch * pages)
        for layer in range(MODEL.config.layers):
            for tensor in pool.pages(layer):
                tensor.zero_()
        runner(MODEL, mesh, pool).step(StepPlan(rows), tables)
        return mesh.sent_bytes

    return on_ranks(ranks, step)


def formula(ranks: int, context: int, batch: int) -> int:
    """Of all ranks: per row and other holder q and the answer with its log-sum-exp, K and V to the tail's owner."""
    c, tail = MODEL.config, context // PAGE_TOKENS % ranks
    elsewhere = sum(n % ranks != tail for n in range(batch))
    row = c.heads * c.head_dim + c.heads * (c.head_dim + 1)
    layer = batch * (ranks - 1) * row + elsewhere * 2 * c.kv_heads * c.head_dim
    told = ranks * (ranks - 1) * -(-batch // ranks) * TOKEN_ROW_BYTES
    return c.layers * layer * FLOAT_BYTES + told


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("batch", [1, 6])
def test_a_step_sends_the_bytes_of_the_formula_at_any_context(ranks: int, batch: int) -> None:
    # Of these contexts each ends in a page of the same rank, and every rank holds pages.
    contexts = [ranks * PAGE_TOKENS * pages + 5 for pages in (1, 2, 3)]
    steps = [sent(ranks, context, batch) for context in contexts]
    assert steps[0] == steps[1] == steps[2]
    assert sum(steps[0]) == formula(ranks, contexts[0], batch)


def test_decode_that_moves_kv_sends_more_the_longer_the_context() -> None:
    c, (near, far) = MODEL.config, (2 * PAGE_TOKENS + 5, 10 * PAGE_TOKENS + 5)
    short, long = (sum(sent(2, context, 1, KvMovingDecode)) for context in (near, far))
    elsewhere = (far - near) // 2  # the home holds every other page
    assert long - short == elsewhere * c.layers * 2 * c.kv_heads * c.head_dim * FLOAT_BYTES
