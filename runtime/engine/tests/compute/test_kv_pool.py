from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from csps_engine.core.kvshape import KvShape
from csps_engine.core.plan import PageTable, Place
from csps_engine.kv.pool import VIEWED_RUN_TOKENS, KvPool
from csps_engine.kv.runs import Run, join_runs, local_pages

SHAPE = KvShape(layers=2, kv_heads=3, head_dim=4, dtype="float32")
SLOTS = 40


def random_kv(tokens: int, seed: int) -> tuple[Tensor, Tensor]:
    k, v = torch.randn(2, SHAPE.kv_heads, tokens, SHAPE.head_dim, generator=torch.Generator().manual_seed(seed))
    return k, v


def fill(pool: KvPool, pages: list[Run], k: Tensor, v: Tensor) -> None:
    for layer in range(SHAPE.layers):
        start = 0
        for page in pages:
            part = slice(start, start + page.tokens)
            pool.write(layer, page.slot, k[:, part] + layer, v[:, part] - layer)
            start += page.tokens


def read_back(pool: KvPool, layer: int, pages: list[Run]) -> tuple[Tensor, Tensor]:
    blocks = pool.blocks(layer, pool.lookup(pages))
    return torch.cat([k for k, _ in blocks], 1), torch.cat([v for _, v in blocks], 1)


@settings(max_examples=60)
@given(slots=st.permutations(range(SLOTS)), length=st.integers(1, SLOTS * 64), seed=st.integers(0, 1000))
def test_what_is_written_to_strewn_pages_is_read_back_in_order(slots: list[int], length: int, seed: int) -> None:
    pool = KvPool(SHAPE, SLOTS)
    pages = local_pages(PageTable([Place(0, slot) for slot in slots], length), 0, length)
    k, v = random_kv(length, seed)
    fill(pool, pages, k, v)
    for layer in range(SHAPE.layers):
        read_k, read_v = read_back(pool, layer, pages)
        assert torch.equal(read_k, k + layer)
        assert torch.equal(read_v, v - layer)


def test_consecutive_slots_are_one_view_without_a_copy() -> None:
    pool = KvPool(SHAPE, SLOTS)
    pages = [Run(slot, 64) for slot in range(5, 12)]
    [(k, _)] = pool.blocks(1, pool.lookup(pages))
    pool.write(1, 5, *random_kv(64 * 7, 1))
    assert torch.equal(k, random_kv(64 * 7, 1)[0])


def test_long_runs_are_viewed_and_short_ones_gathered() -> None:
    pool = KvPool(SHAPE, SLOTS)
    long = VIEWED_RUN_TOKENS // 64
    apart = [Run(slot, 64) for slot in (*range(long), *range(20, 20 + long))]
    assert len(pool.blocks(0, pool.lookup(apart))) == 2
    assert len(pool.blocks(0, pool.lookup([Run(1, 64), Run(9, 64), Run(3, 5)]))) == 1


def test_appended_tokens_land_at_their_offsets() -> None:
    pool = KvPool(SHAPE, SLOTS)
    k, v = random_kv(2, 3)
    pool.append(1, torch.tensor([3 * 64 + 7, 64]), k.transpose(0, 1), v.transpose(0, 1))
    assert torch.equal(pool.read(1, 3, 8)[0][:, 7], k[:, 0])
    assert torch.equal(pool.read(1, 1, 1)[1][:, 0], v[:, 1])


@pytest.mark.parametrize(("slot", "tokens"), [(-1, 1), (SLOTS, 1), (SLOTS - 1, 65)])
def test_writing_outside_the_pool_is_refused(slot: int, tokens: int) -> None:
    with pytest.raises(IndexError, match="outside a pool"):
        KvPool(SHAPE, SLOTS).write(0, slot, *random_kv(tokens, 0))


def test_local_pages_are_this_ranks_and_only_the_tail_is_short() -> None:
    table = PageTable([Place(0, 4), Place(1, 0), Place(0, 5), Place(0, 2)], 200)
    assert local_pages(table, 0, 200) == [Run(4, 64), Run(5, 64), Run(2, 8)]
    assert local_pages(table, 1, 200) == [Run(0, 64)]
    assert local_pages(table, 0, 128) == [Run(4, 64)]


def test_runs_join_only_over_consecutive_slots_in_order() -> None:
    joined = join_runs([Run(4, 64), Run(5, 64), Run(3, 64), Run(4, 9)], 64)
    assert joined == [Run(4, 128), Run(3, 73)]


def test_page_bytes_count_keys_and_values_of_all_layers() -> None:
    assert SHAPE.page_bytes() == 2 * 2 * 3 * 4 * 4 * 64
