from __future__ import annotations

import pytest
import torch
from draws import SIXTEEN_BIT, assert_near, normal
from tolerances import STRONG_SCORES
from torch import Tensor

from csps_engine.kernels.paged_decode import attend_pages, split_count
from csps_engine.kernels.reference import attend_pages_reference

PAGE = 64
LENGTHS = [1, 64, 200, 0, 330]


def pages(seed: int, kv_heads: int, size: int, dtype: torch.dtype) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor]:
    """A pool of 20 slots, and the pages of requests of LENGTHS in random slots; what no token wrote is NaN."""
    k, v = (normal(seed + i, kv_heads, 20, PAGE, size, dtype=dtype) for i in range(2))
    slots = torch.randperm(20, generator=torch.Generator().manual_seed(seed))
    table, used = torch.full((len(LENGTHS), 6), 10**6, dtype=torch.int32), 0
    for row, length in zip(table, LENGTHS, strict=True):
        count = -(-length // PAGE)
        row[:count] = slots[used : used + count]
        used += count
        if length % PAGE:
            k[:, row[count - 1].long(), length % PAGE :] = float("nan")
            v[:, row[count - 1].long(), length % PAGE :] = float("nan")
    return (k, v), table, torch.tensor(LENGTHS, dtype=torch.int32)


@pytest.mark.parametrize("splits", [1, 2, 6])
@pytest.mark.parametrize(
    ("dtype", "heads", "kv_heads", "size"),
    [(torch.float32, 9, 3, 64), (SIXTEEN_BIT, 8, 2, 128), (torch.float16, 40, 2, 64)],
)
def test_each_request_attends_to_its_own_pages_however_they_are_split(
    dtype: torch.dtype, heads: int, kv_heads: int, size: int, splits: int, device: torch.device
) -> None:
    pool, table, lengths = pages(11, kv_heads, size, dtype)
    q = normal(3, len(LENGTHS), heads, size, dtype=dtype)
    moved = (pool[0].to(device), pool[1].to(device))
    got = attend_pages(q.to(device), moved, table.to(device), lengths.to(device), splits)
    assert got[0].dtype == dtype
    assert_near(got, attend_pages_reference(q, pool, table, lengths))


def test_scores_in_the_hundreds_overflow_nothing(device: torch.device) -> None:
    pool, table, lengths = pages(5, 1, 64, torch.float32)
    q = normal(3, len(LENGTHS), 2, 64) * 400
    moved = (pool[0].to(device), pool[1].to(device))
    got = attend_pages(q.to(device), moved, table.to(device), lengths.to(device), 3)
    wanted = attend_pages_reference(q, pool, table, lengths)
    assert wanted[1][torch.isfinite(wanted[1])].abs().max() > 500
    assert_near(got, wanted, STRONG_SCORES)


def test_pages_are_split_until_the_device_is_full_and_no_further() -> None:
    assert split_count(programs=8, pages=1024, processors=132) == 33
    assert split_count(programs=8, pages=3, processors=132) == 3
    assert split_count(programs=512, pages=1024, processors=132) == 1
    assert split_count(programs=8, pages=0, processors=132) == 1
