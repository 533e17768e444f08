"""Choice of blocks keeps what digests promise, and compiled code chooses as torch does."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from csps_engine.csa.block_choice import (
    HeldBlocks,
    choose_blocks,
    choose_by_torch,
    score_blocks,
    score_by_torch,
)
from csps_engine.csa.digest import digest
from csps_engine.csa.need import expected_weight

BLOCK, EACH, SLOTS = 32, 2, 9
HEADS = st.sampled_from([(9, 3), (2, 2), (8, 1), (40, 2)])


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def held(seed: int) -> HeldBlocks:
    """Three rows: of several pages, of none, of one; the first has the page that grows."""
    slots = torch.randperm(SLOTS, generator=torch.Generator().manual_seed(seed))
    table = torch.zeros(3, 5, dtype=torch.long)
    table[0], table[2, 0] = slots[:5], slots[5]
    always = torch.zeros(3, 5, dtype=torch.uint8)
    always[0, 0] = always[2, 0] = 1
    return HeldBlocks(
        table,
        torch.tensor([5, 0, 1]),
        always,
        torch.tensor([int(slots[6]), 0, 0]),
        torch.tensor([37, 0, 0]),
        EACH,
        BLOCK,
    )


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), heads=HEADS, scale=st.floats(0.1, 50))
def test_scores_are_those_of_prefill_and_no_block_weighs_more_than_its_bound(
    seed: int, heads: tuple[int, int], scale: float
) -> None:
    q, k = drawn(seed, 3, heads[0], 16) * scale, drawn(seed + 1, heads[1], SLOTS * EACH * BLOCK, 16)
    digests, where = digest(k, BLOCK), held(seed)
    scores = score_blocks(q, digests.unflatten(0, (SLOTS, EACH)), where)
    torch.testing.assert_close(
        scores, score_by_torch(q, digests.unflatten(0, (SLOTS, EACH)), where), rtol=1e-5, atol=1e-4
    )
    blocks = [int(slot) * EACH + b for slot in where.slots[0] for b in range(EACH)]
    for head in range(heads[0]):
        kv_head = head * heads[1] // heads[0]
        wanted = expected_weight(q[0, head : head + 1], digests[blocks, kv_head], BLOCK)[0]
        torch.testing.assert_close(scores.expected[0, head], wanted, rtol=1e-5, atol=1e-4)
        weights = (k[kv_head].double() @ q[0, head].double() / 4).view(-1, BLOCK)[blocks].logsumexp(1)
        assert (weights <= scores.bound[0, head].double() + 1e-5 * scale).all()
    assert (scores.expected <= scores.bound).all()
    assert torch.isneginf(scores.bound[1]).all()
    assert torch.isneginf(scores.expected[2, :, EACH:]).all()


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), heads=HEADS, below=st.floats(0, 20))
def test_blocks_over_the_floor_and_pages_read_always_are_listed_and_the_rest_is_bounded(
    seed: int, heads: tuple[int, int], below: float
) -> None:
    q, k = drawn(seed, 3, heads[0], 16) * 3, drawn(seed + 1, heads[1], SLOTS * EACH * BLOCK, 16)
    where = held(seed)
    scores = score_by_torch(q, digest(k, BLOCK).unflatten(0, (SLOTS, EACH)), where)
    floor = scores.expected.amax(2) - below
    found, wanted = (choose(scores, floor, heads[1], where) for choose in (choose_blocks, choose_by_torch))
    assert torch.equal(found.read, wanted.read)
    assert torch.equal(found.lengths, wanted.lengths)
    torch.testing.assert_close(found.left, wanted.left, rtol=1e-5, atol=1e-4)
    group = heads[0] // heads[1]
    for row in range(3):
        for kv_head in range(heads[1]):
            used = -(-int(found.lengths[row, kv_head]) // BLOCK)
            assert torch.equal(found.listed[row, kv_head, :used], wanted.listed[row, kv_head, :used])
            own = slice(kv_head * group, (kv_head + 1) * group)
            near = (scores.expected[row, own] >= floor[row, own].unsqueeze(1)).any(0)
            expected = [
                int(where.slots[row, c // EACH]) * EACH + c % EACH
                for c in range(int(where.count[row]) * EACH)
                if near[c] or where.always[row, c // EACH]
            ]
            tail = [int(where.tail_slot[row]) * EACH + b for b in range(-(-int(where.tail_tokens[row]) // BLOCK))]
            assert found.listed[row, kv_head, :used].tolist() == expected + tail


def test_where_every_block_is_read_nothing_is_left() -> None:
    q, k, where = drawn(1, 3, 9, 16), drawn(2, 3, SLOTS * EACH * BLOCK, 16), held(3)
    scores = score_blocks(q, digest(k, BLOCK).unflatten(0, (SLOTS, EACH)), where)
    for choose in (choose_blocks, choose_by_torch):
        choice = choose(scores, torch.full((3, 9), float("-inf")), 3, where)
        assert choice.read.tolist() == [30, 0, 6]
        assert torch.isneginf(choice.left).all()
