from __future__ import annotations

import pytest
import torch
from draws import SIXTEEN_BIT, assert_near, normal
from tolerances import STRONG_SCORES
from torch import Tensor

from csps_engine.kernels.block_sparse import attend_blocks, plan
from csps_engine.kernels.blocks import BEFORE_ALL, BlockLists, KeyBlocks
from csps_engine.kernels.reference import attend_blocks_reference

BLOCK = 32


def blocks_of(tokens: int) -> KeyBlocks:
    """`tokens` consecutive keys at positions 0, 1, …"""
    first = torch.arange(0, tokens, BLOCK, dtype=torch.int32)
    return KeyBlocks(first, (tokens - first).clamp(max=BLOCK), first.clone())


def lists_of(rows: list[list[list[int]]]) -> BlockLists:
    """From block numbers by KV head, tile."""
    counts = torch.tensor([[len(one) for one in head] for head in rows], dtype=torch.int32)
    end = counts.flatten().cumsum(0, dtype=torch.int32).view_as(counts)
    listed = torch.tensor([c for head in rows for one in head for c in one], dtype=torch.int32)
    return BlockLists(end - counts, end, listed)


def both(
    q: Tensor,
    positions: Tensor,
    keys: tuple[Tensor, Tensor],
    blocks: KeyBlocks,
    lists: BlockLists,
    device: torch.device,
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The kernel's answer and the reference's."""
    there = [KeyBlocks(*(part.to(device) for part in blocks)), BlockLists(*(part.to(device) for part in lists))]
    moved = (keys[0].to(device), keys[1].to(device))
    got = attend_blocks(q.to(device), positions.to(device), moved, *there, BLOCK)
    return got, attend_blocks_reference(q, positions, keys, blocks, lists, plan(q.dtype, q.shape[2]).queries)


@pytest.mark.parametrize(
    ("dtype", "heads", "kv_heads", "size"),
    [(torch.float32, 9, 3, 64), (SIXTEEN_BIT, 4, 2, 128), (torch.float16, 3, 3, 64)],
)
def test_each_tile_sees_its_listed_blocks_up_to_its_own_positions(
    dtype: torch.dtype, heads: int, kv_heads: int, size: int, device: torch.device
) -> None:
    tile, keys_count = plan(dtype, size).queries, 260
    tokens = tile + 21
    q, k, v = (normal(i, *shape, dtype=dtype) for i, shape in enumerate([(tokens, heads, size)] + [(260, size)] * 2))
    positions = torch.arange(keys_count - tokens, keys_count, dtype=torch.int32)
    every = range(blocks_of(keys_count).row.shape[0])
    pick = torch.rand(kv_heads, 2, len(every), generator=torch.Generator().manual_seed(7)) < 0.5
    rows = [[[c for c in reversed(every) if pick[u, i, c]] for i in range(2)] for u in range(kv_heads)]
    rows[0][0] = []
    got, wanted = both(q, positions, (k, v), blocks_of(keys_count), lists_of(rows), device)
    assert torch.isneginf(wanted[1][:tile, : heads // kv_heads]).all()
    assert_near(got, wanted)


def test_early_queries_see_nothing_of_later_blocks(device: torch.device) -> None:
    q, k, v = normal(1, 40, 2, 64), normal(2, 96, 64), normal(3, 96, 64)
    positions = torch.cat([torch.arange(10), torch.arange(60, 90)]).to(torch.int32)
    got, wanted = both(q, positions, (k, v), blocks_of(96), lists_of([[[2, 1]]]), device)
    assert torch.isneginf(got[1][:10]).all()
    assert not torch.isneginf(got[1][10:]).any()
    assert_near(got, wanted)


def test_blocks_lie_anywhere_in_memory_in_any_order_with_any_number_of_keys(device: torch.device) -> None:
    q, k, v = normal(1, 20, 6, 64), normal(2, 120, 64), normal(3, 120, 64)
    blocks = KeyBlocks(
        *(torch.tensor(c, dtype=torch.int32) for c in ([90, 3, 40], [30, 1, 0], [BEFORE_ALL, 500, BEFORE_ALL]))
    )
    positions = torch.arange(490, 510, dtype=torch.int32)
    got, wanted = both(q, positions, (k, v), blocks, lists_of([[[1, 0, 2]], [[2]], [[0]]]), device)
    assert torch.isneginf(got[1][:, 2:4]).all()
    assert_near(got, wanted)


def test_scores_in_the_hundreds_overflow_nothing(device: torch.device) -> None:
    q, k, v = normal(1, 20, 2, 64) * 400, normal(2, 70, 64), normal(3, 70, 64)
    positions = torch.full((20,), 69, dtype=torch.int32)
    got, wanted = both(q, positions, (k, v), blocks_of(70), lists_of([[[0, 1, 2]]]), device)
    assert wanted[1].abs().max() > 500
    assert_near(got, wanted, STRONG_SCORES)
