"""Root-mean-square norm: by norm.c for few tokens in fp32 on a CPU, else by torch."""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from csps_engine.kernels.compiled import compiled

SOURCE = Path(__file__).with_name("norm.c")
FEW_TOKENS = 32


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """x [T, n] over its root mean square, times weight [n]."""
    few = x.shape[0] < FEW_TOKENS and x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
    library = compiled(SOURCE) if few else None
    if library is None or not x.is_contiguous():
        return F.rms_norm(x, (x.shape[1],), weight, epsilon)
    y = torch.empty_like(x)
    pointers = (ctypes.c_void_p(part.data_ptr()) for part in (x, weight, y))
    sizes = (ctypes.c_size_t(size) for size in x.shape)
    library.csps_rms_norm(*pointers, *sizes, ctypes.c_float(epsilon))
    return y
