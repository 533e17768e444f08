"""Attention over chosen blocks gives what is written out over the keys of each list, whoever computes it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from csps_engine.attention.attend import attend_reference
from csps_engine.attention.chosen import ChosenBlocks, _by_gathering, attend_chosen
from csps_engine.attention.partial import Partial

SLOTS, PAGE, BLOCK = 7, 64, 32
LENGTHS = [[0, 1, 32], [33, 64, 31], [224, 97, 128]]
"""Of three rows and three KV heads."""


def drawn(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def lists(kv_heads: int, seed: int) -> ChosenBlocks:
    """In random order, runs of neighbours among them; what no list reads points nowhere."""
    draw = torch.Generator().manual_seed(seed)
    listed = torch.full((3, kv_heads, 9), 10**6, dtype=torch.int32)
    lengths = torch.tensor(LENGTHS, dtype=torch.int32)[:, :kv_heads].contiguous()
    for row in range(3):
        for head in range(kv_heads):
            used = -(-int(lengths[row, head]) // BLOCK)
            order = torch.randperm(2 * SLOTS, generator=draw)
            listed[row, head, :used] = (order if row else torch.arange(3, 3 + 2 * SLOTS))[:used]
    return ChosenBlocks(listed, lengths, BLOCK)


def written_out(q: Tensor, pages: tuple[Tensor, Tensor], blocks: ChosenBlocks) -> Partial:
    kv_heads = pages[0].shape[0]
    group = q.shape[1] // kv_heads
    out, lse = torch.zeros_like(q, dtype=torch.float64), torch.full(q.shape[:2], float("-inf"), dtype=torch.float64)
    for row, lengths in enumerate(blocks.lengths.tolist()):
        for head, length in enumerate(lengths):
            if length:
                used = blocks.listed[row, head, : -(-length // BLOCK)].tolist()
                tokens = [b * BLOCK + t for b in used for t in range(BLOCK)][:length]
                k, v = (part.flatten(1, 2)[head : head + 1, tokens].double() for part in pages)
                heads = slice(head * group, (head + 1) * group)
                part = attend_reference(q[row : row + 1, heads].double(), k, v, causal=False)
                out[row, heads], lse[row, heads] = part.out[0], part.lse[0]
    return Partial(out, lse)


@pytest.mark.parametrize("heads", [(9, 3), (2, 2), (8, 1), (12, 3)])
@pytest.mark.parametrize("size", [16, 64, 128])
@pytest.mark.parametrize("seed", [1, 2])
def test_each_kv_head_reads_its_own_blocks(heads: tuple[int, int], size: int, seed: int) -> None:
    q, blocks = drawn(seed, 3, heads[0], size), lists(heads[1], seed)
    pages = drawn(3, heads[1], SLOTS, PAGE, size), drawn(4, heads[1], SLOTS, PAGE, size)
    expected = written_out(q, pages, blocks)
    for found in (attend_chosen(q, pages, blocks), _by_gathering(q, pages, blocks)):
        torch.testing.assert_close(found.out.double(), expected.out, rtol=0, atol=2e-6)
        torch.testing.assert_close(found.lse.double(), expected.lse, rtol=0, atol=4e-6)


@pytest.mark.parametrize(("size", "dtype"), [(24, torch.float32), (64, torch.bfloat16)])
def test_what_the_code_does_not_serve_is_gathered(size: int, dtype: torch.dtype) -> None:
    q, blocks = drawn(1, 3, 6, size, dtype=dtype), lists(3, 5)
    pages = drawn(3, 3, SLOTS, PAGE, size, dtype=dtype), drawn(4, 3, SLOTS, PAGE, size, dtype=dtype)
    found, expected = attend_chosen(q, pages, blocks), written_out(q, pages, blocks)
    tolerance = 4e-6 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(found.out.double(), expected.out, rtol=0, atol=tolerance)
    torch.testing.assert_close(found.lse.double(), expected.lse, rtol=0, atol=tolerance)


def test_no_rows_give_no_results() -> None:
    pages = drawn(3, 3, SLOTS, PAGE, 64), drawn(4, 3, SLOTS, PAGE, 64)
    none = ChosenBlocks(torch.empty(0, 3, 9, dtype=torch.int32), torch.empty(0, 3, dtype=torch.int32), BLOCK)
    assert attend_chosen(torch.empty(0, 6, 64), pages, none).out.shape == (0, 6, 64)
