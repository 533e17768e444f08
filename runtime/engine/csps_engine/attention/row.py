"""Attention of one token in fp32 on a CPU, by row.c: the kernel of torch is made for blocks of queries."""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from csps_engine.kernels.compiled import compiled

SOURCE = Path(__file__).with_name("row.c")
LARGEST_HEAD, LARGEST_GROUP = 256, 8


class _Row(ctypes.Structure):
    _fields_ = (
        ("q", ctypes.c_void_p),
        ("k", ctypes.c_void_p),
        ("v", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("lse", ctypes.c_void_p),
        ("kv_heads", ctypes.c_size_t),
        ("group", ctypes.c_size_t),
        ("size", ctypes.c_size_t),
        ("tokens", ctypes.c_size_t),
        ("head_stride", ctypes.c_size_t),
    )


def serves(q: Tensor, group: int) -> bool:
    """Whether row.c takes queries like q [n, H, D], so many of them to a KV head."""
    fits = q.shape[2] % 16 == 0 and q.shape[2] <= LARGEST_HEAD and group <= LARGEST_GROUP
    return fits and q.dtype == torch.float32 and q.device.type == "cpu"


def attend_row(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor] | None:
    """Output [1, H, D] and log-sum-exp [1, H] of q [1, H, D] over k, v [K, S, D], S at least 1.

    None where row.c does not serve: another dtype or device, an odd size of heads, or keys that lie otherwise.
    """
    _, heads, size = q.shape
    kv_heads, tokens, _ = k.shape
    group = heads // kv_heads
    if not serves(q, group):
        return None
    stride = k.stride(0)
    if any(part.stride() != (stride, size, 1) or part.dtype != torch.float32 for part in (k, v)):
        return None
    library = compiled(SOURCE)
    if library is None:
        return None
    scaled = (q * size**-0.5).contiguous()
    out, lse = torch.empty_like(scaled), torch.empty(1, heads)
    pointers = (part.data_ptr() for part in (scaled, k, v, out, lse))
    row = _Row(*pointers, kv_heads, group, size, tokens, stride)
    return (out, lse) if library.csps_attend_row(ctypes.byref(row)) else None
