"""Which form of an operation runs: its Triton kernel or torch.

CSPS_KERNELS says so, once for a process:
    auto     kernels on CUDA devices, torch elsewhere and where Triton is missing
    torch    torch everywhere: what to compare with when a kernel is in doubt
    triton   kernels everywhere; on a CPU that needs TRITON_INTERPRET=1 and serves tests
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import os

import torch
from torch import Tensor

from csps_engine.kernels.launchers import Launchers

log = logging.getLogger(__name__)

VARIABLE = "CSPS_KERNELS"
LEAST_HEAD, LARGEST_HEAD = 16, 256
"""Bounds of a head's size; between them it must be a power of two. The others take torch."""
DTYPES = frozenset((torch.float32, torch.float16, torch.bfloat16))


def kernels_for(heads: Tensor) -> Launchers | None:
    """The kernels for tensors like `heads` [..., head_dim]; None: torch."""
    asked = _asked()
    if asked == "torch" or (asked == "auto" and not heads.is_cuda) or not _fits(heads):
        return None
    return _launchers(asked)


def _fits(heads: Tensor) -> bool:
    size = heads.shape[-1]
    return heads.dtype in DTYPES and LEAST_HEAD <= size <= LARGEST_HEAD and size.bit_count() == 1


@functools.cache
def _asked() -> str:
    return os.environ.get(VARIABLE, "").strip() or "auto"


@functools.cache
def _launchers(asked: str) -> Launchers | None:
    # By name, when first needed: Triton costs a second and 100 MB, and a CPU image has none.
    if asked == "auto" and not torch.cuda.is_available():
        return None
    if asked == "auto" and importlib.util.find_spec("triton") is None:
        log.warning("Triton is not installed: attention runs by torch alone, more slowly")
        return None
    launchers: Launchers = importlib.import_module("csps_engine.kernels.triton_launchers").LAUNCHERS
    return launchers
