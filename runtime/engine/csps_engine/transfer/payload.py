"""Tensors as the bytes that travel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def raw_bytes(tensor: Tensor) -> bytes:
    """The tensor's bytes in row-major order; works for types that numpy does not know."""
    return tensor.contiguous().cpu().view(torch.uint8).numpy().tobytes()


def packed(parts: Sequence[Tensor]) -> memoryview:
    """The bytes of tensors of one type, one after another, copied once."""
    whole = torch.empty(sum(part.numel() for part in parts), dtype=parts[0].dtype, device=parts[0].device)
    for room, part in zip(whole.split([part.numel() for part in parts]), parts, strict=True):
        room.view(part.shape).copy_(part)
    return memoryview(whole.cpu().view(torch.uint8).numpy())
