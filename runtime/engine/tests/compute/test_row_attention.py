"""Attention of one token by row.c gives what is written out, for every size of a head and group."""

from __future__ import annotations

import pytest
import torch

from csps_engine.attention.attend import attend_reference
from csps_engine.attention.row import attend_row


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("heads", [(1, 1), (9, 3), (8, 2), (8, 1), (5, 1)])
@pytest.mark.parametrize("size", [16, 64, 80, 128])
@pytest.mark.parametrize("tokens", [1, 63, 64, 200])
def test_one_token_attends_as_written_out(heads: tuple[int, int], size: int, tokens: int) -> None:
    q, pool = drawn(1, 1, heads[0], size), drawn(2, 2, heads[1], tokens + 7, size)
    k, v = pool[:, :, 3 : tokens + 3]  # a view into a pool of more tokens
    row = attend_row(q, k, v)
    assert row is not None
    expected = attend_reference(q.double(), k.double(), v.double(), causal=False)
    torch.testing.assert_close(row[0].double(), expected.out, rtol=0, atol=2e-6)
    torch.testing.assert_close(row[1].double(), expected.lse, rtol=0, atol=4e-6)


def test_scores_in_the_hundreds_overflow_nothing_and_late_large_ones_count() -> None:
    k, v = drawn(3, 1, 300, 64), drawn(4, 1, 300, 64)
    q = 500 * k[:, 299:].transpose(0, 1)  # the last key fits best
    row = attend_row(q, k, v)
    assert row is not None
    torch.testing.assert_close(row[0][0], v[:, 299], rtol=0, atol=1e-5)
    assert torch.isfinite(row[1]).all()


@pytest.mark.parametrize(
    ("heads", "size", "dtype"), [((2, 1), 24, torch.float32), ((16, 1), 64, torch.float32), ((2, 1), 64, torch.float16)]
)
def test_what_the_code_does_not_serve_is_left_to_torch(heads: tuple[int, int], size: int, dtype: torch.dtype) -> None:
    k = torch.zeros(heads[1], 4, size, dtype=dtype)
    assert attend_row(torch.zeros(1, heads[0], size, dtype=dtype), k, k) is None
    wide = torch.zeros(1, 4, 2 * 64)[..., :64]
    assert attend_row(torch.zeros(1, 1, 64), wide, wide) is None
