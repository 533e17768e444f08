"""The compiled norm beside that of torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from csps_engine.kernels.compiled import compiled
from csps_engine.model.norm import FEW_TOKENS, SOURCE, rms_norm


@pytest.mark.parametrize("columns", [1, 7, 576])
@pytest.mark.parametrize("tokens", [0, 1, 5, FEW_TOKENS])
def test_a_norm_is_that_of_torch(tokens: int, columns: int) -> None:
    assert compiled(SOURCE) is not None
    draw = torch.Generator().manual_seed(tokens)
    x, weight = torch.randn(tokens, columns, generator=draw) * 30, torch.randn(columns, generator=draw)
    exact = F.rms_norm(x.double(), (columns,), weight.double(), 1e-5)
    torch.testing.assert_close(rms_norm(x, weight, 1e-5).double(), exact, rtol=2e-6, atol=1e-6)
    strided = torch.randn(max(tokens, 1), 2 * columns, generator=draw)[:, ::2]
    expected = F.rms_norm(strided, (columns,), weight, 1e-5)
    torch.testing.assert_close(rms_norm(strided, weight, 1e-5), expected, rtol=2e-6, atol=1e-6)
