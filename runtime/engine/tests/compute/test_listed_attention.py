"""Attention over listed blocks adds to what is held what attention over all of it together gives."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from csps_engine.attention import listed
from csps_engine.attention.attend import attend, attend_reference
from csps_engine.attention.listed import BLOCK_TOKENS, TILE_QUERIES, attend_listed
from csps_engine.attention.partial import Partial, nothing
from csps_engine.kernels.blocks import BEFORE_ALL, BlockLists, KeyBlocks

SIZES = [32, 5, 32, 1, 17, 32]


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def blocks() -> KeyBlocks:
    """Blocks of SIZES keys, with a row between them that belongs to none."""
    first = [0, *itertools.accumulate(size + 1 for size in SIZES[:-1])]
    return KeyBlocks(*(torch.tensor(c, dtype=torch.int32) for c in (first, SIZES, [BEFORE_ALL] * len(SIZES))))


def lists(rows: list[list[list[int]]]) -> BlockLists:
    """From block numbers by KV head and tile."""
    counts = torch.tensor([[len(one) for one in head] for head in rows], dtype=torch.int32)
    end = counts.flatten().cumsum(0, dtype=torch.int32).view_as(counts)
    return BlockLists(
        end - counts, end, torch.tensor([c for head in rows for one in head for c in one], dtype=torch.int32)
    )


@pytest.mark.parametrize("heads", [(1, 1), (9, 3), (8, 2), (5, 1)])
@pytest.mark.parametrize("size", [16, 64, 80, 24])
@pytest.mark.parametrize("by_code", [True, False])
def test_each_tile_adds_its_own_blocks(
    heads: tuple[int, int], size: int, by_code: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not by_code:
        monkeypatch.setattr(listed, "compiled", lambda _: None)
    tokens, kv_heads, where = TILE_QUERIES + 7, heads[1], blocks()
    q, k, v = (drawn(i, *shape) for i, shape in enumerate([(tokens, heads[0], size)] + [(200, size)] * 2))
    own = drawn(5, kv_heads, 9, size), drawn(6, kv_heads, 9, size)
    rows = [[[5, 0, 1], [2, 4]], [[], [3]], [[1], [0, 1, 2, 3, 4, 5]]][:kv_heads]
    got = attend_listed(attend(q, *own, causal=False), q, (k, v), where, lists(rows))
    for head, tile in itertools.product(range(kv_heads), range(2)):
        seen = [int(where.row[c]) + i for c in rows[head][tile] for i in range(SIZES[c])]
        keys, values = (
            torch.cat([mine[head], part[seen]])[None].double() for mine, part in zip(own, (k, v), strict=True)
        )
        group = heads[0] // kv_heads
        at = slice(tile * TILE_QUERIES, (tile + 1) * TILE_QUERIES), slice(head * group, (head + 1) * group)
        expected = attend_reference(q[at].double(), keys, values, causal=False)
        torch.testing.assert_close(got.out[at].double(), expected.out, rtol=0, atol=3e-6)
        torch.testing.assert_close(got.lse[at].double(), expected.lse, rtol=0, atol=4e-6)


def test_what_is_held_may_be_nothing_and_stays_so_where_nothing_is_listed() -> None:
    q, k, v = drawn(1, 70, 2, 64), drawn(2, 200, 64), drawn(3, 200, 64)
    got = attend_listed(nothing(q), q, (k, v), blocks(), lists([[[1], []]]))
    expected = attend_reference(q[:64], k[None, 33:38], v[None, 33:38], causal=False)
    torch.testing.assert_close(got.out[:64], expected.out, rtol=0, atol=3e-6)
    assert torch.isneginf(got.lse[64:]).all()
    assert (got.out[64:] == 0).all()


def test_scores_in_the_hundreds_overflow_nothing_and_weights_of_nothing_are_zero() -> None:
    k, v = drawn(3, 32, 64), torch.eye(64)[:32]
    q = 500 * k[31:].expand(64, 64).unsqueeze(1).contiguous()  # the last key fits best
    one = KeyBlocks(*(torch.tensor([c], dtype=torch.int32) for c in (0, BLOCK_TOKENS, BEFORE_ALL)))
    got = attend_listed(nothing(q), q, (k, v), one, lists([[[0]]]))
    assert torch.isfinite(got.lse).all()
    assert (got.out[:, 0] == v[31]).all()


def test_blocks_of_too_little_weight_are_left_out_whole() -> None:
    tokens, size = 12, 64
    q = torch.zeros(tokens, 1, size)
    q[:, :, 0] = size**0.5  # a key's score is its first element
    k, v = torch.zeros(64, size), torch.ones(64, size)
    k[:32, 0], k[32:, 0] = -5.0, -7.0
    held = Partial(torch.zeros(tokens, 1, size), torch.zeros(tokens, 1))
    two = KeyBlocks(*(torch.tensor(c, dtype=torch.int32) for c in ([0, 32], [32, 32], [BEFORE_ALL] * 2)))
    for least, counted in ((-math.inf, [-5.0, -7.0]), (-6.0, [-5.0]), (-4.0, [])):
        got = attend_listed(held, q, (k, v), two, lists([[[0, 1]]]), least)
        weight = sum(32 * math.exp(score) for score in counted)
        torch.testing.assert_close(got.lse, torch.full_like(got.lse, math.log1p(weight)), rtol=0, atol=1e-5)
        torch.testing.assert_close(got.out, torch.full_like(got.out, weight / (1 + weight)), rtol=0, atol=1e-5)
