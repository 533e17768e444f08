"""Inputs of the kernel tests, and the comparison."""

from __future__ import annotations

import os

import torch
from tolerances import TOLERANCES, Tolerance
from torch import Tensor

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
SIXTEEN_BIT = torch.float16 if DEVICE == "cpu" else torch.bfloat16
"""The interpreter multiplies matrices of bfloat16 as if they were integers (Triton 3.9), so it gets float16."""

Pair = tuple[Tensor, Tensor]


def normal(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """On the CPU, so that every device gets the same numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def assert_near(got: Pair, wanted: Pair, tolerance: Tolerance | None = None) -> None:
    """Output and log-sum-exp of two forms; rows without keys are 0 and -inf in both."""
    allowed = tolerance or TOLERANCES[got[0].dtype]
    out, lse = (part.cpu() for part in got)
    assert torch.equal(torch.isneginf(lse), torch.isneginf(wanted[1]))
    assert lse.dtype == torch.float32
    assert (out[torch.isneginf(lse)] == 0).all()
    torch.testing.assert_close(out.float(), wanted[0].float(), rtol=0, atol=allowed.out)
    torch.testing.assert_close(lse, wanted[1], rtol=0, atol=allowed.lse)
