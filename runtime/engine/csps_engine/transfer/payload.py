"""Tensors as the bytes that travel."""

from __future__ import annotations

import torch
from torch import Tensor


def raw_bytes(tensor: Tensor) -> bytes:
    """The tensor's bytes in row-major order; works for types that numpy does not know."""
    return tensor.contiguous().cpu().view(torch.uint8).numpy().tobytes()
