from __future__ import annotations

import pytest
import torch
from draws import assert_near, normal

from csps_engine.attention.partial import Partial, merge, merge_many
from csps_engine.kernels.merge import merge_pair, merge_parts

NONE = float("-inf")


def parts(count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of 7 tokens and 3 heads; token 0 has no key anywhere, token 1 in the last part alone, lse of ±500 at token 2."""
    out, lse = normal(1, count, 7, 3, size), normal(2, count, 7, 3)
    lse[:, 0], lse[:-1, 1] = NONE, NONE
    lse[:, 2] = torch.linspace(-500, 500, count)[:, None]
    out[lse == NONE] = 0
    return out, lse


@pytest.mark.parametrize(("count", "size"), [(1, 64), (2, 128), (5, 64)])
def test_many_parts_merge_as_in_torch(count: int, size: int, device: torch.device) -> None:
    out, lse = parts(count, size)
    assert_near(merge_parts(out.to(device), lse.to(device), torch.float32), merge_many(out, lse))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_two_parts_merge_as_in_torch(dtype: torch.dtype, device: torch.device) -> None:
    out, lse = parts(2, 64)
    a, b = (Partial(one.to(dtype), held) for one, held in zip(out, lse, strict=True))
    moved = [(one.out.to(device), one.lse.to(device)) for one in (a, b)]
    assert_near(merge_pair(*moved), merge(a, b))


def test_no_rows_merge_to_no_rows(device: torch.device) -> None:
    none = torch.empty(2, 0, 3, 64, device=device), torch.empty(2, 0, 3, device=device)
    assert merge_parts(*none, torch.float32)[0].shape == (0, 3, 64)
    assert merge_pair((none[0][0], none[1][0]), (none[0][1], none[1][1]))[1].shape == (0, 3)
