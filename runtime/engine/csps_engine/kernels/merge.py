"""Exact merge of partial attention results on the device; the formula and the torch form are in `attention.partial`.

A program takes a few rows (one token, one head each) and folds the parts in the order given, keeping
    m = max lse,  z = sum e^(lse - m),  acc = sum e^(lse - m) out
so the result does not depend on which part arrived first. One pass instead of a dozen elementwise launches.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE_ROWS = 16
WARPS = 4


@triton.jit
def fold(m: tl.tensor, z: tl.tensor, acc: tl.tensor, lse: tl.tensor, out: tl.tensor) -> tl.tensor:
    """The sums m, z [R], acc [R, D] with one part's lse [R] and out [R, D] added."""
    top = tl.maximum(m, lse)
    safe = tl.where(top == float("-inf"), 0.0, top)  # -inf minus -inf is not a number; e^-inf is 0
    kept, added = tl.exp(m - safe), tl.exp(lse - safe)
    return top, z * kept + added, acc * kept[:, None] + out.to(tl.float32) * added[:, None]


@triton.jit(do_not_specialize=["parts", "rows"])
def merge_kernel(
    outs: tl.tensor,  # [P, R, D]
    lses: tl.tensor,  # [P, R] fp32
    out: tl.tensor,  # [R, D]
    lse: tl.tensor,  # [R] fp32
    parts: tl.tensor,
    rows: tl.tensor,
    size: tl.constexpr,
    tile_rows: tl.constexpr,
) -> None:
    """Program i merges rows [i * tile_rows, (i + 1) * tile_rows) of all parts."""
    row = tl.program_id(0) * tile_rows + tl.arange(0, tile_rows)
    inside = row < rows
    at = row[:, None].to(tl.int64) * size + tl.arange(0, size)[None, :]
    m = tl.full([tile_rows], float("-inf"), tl.float32)
    z = tl.zeros([tile_rows], tl.float32)
    acc = tl.zeros([tile_rows, size], tl.float32)
    for _ in range(parts):
        part_lse = tl.load(lses + row, mask=inside, other=float("-inf"))
        m, z, acc = fold(m, z, acc, part_lse, tl.load(outs + at, mask=inside[:, None], other=0.0))
        lses += rows
        outs += rows.to(tl.int64) * size
    whole = tl.where(z == 0.0, 1.0, z)
    tl.store(out + at, (acc / whole[:, None]).to(out.dtype.element_ty), mask=inside[:, None])
    tl.store(lse + row, m + tl.log(whole), mask=inside)


@triton.jit(do_not_specialize=["rows"])
def merge_pair_kernel(
    out_a: tl.tensor,  # [R, D]
    lse_a: tl.tensor,  # [R] fp32
    out_b: tl.tensor,  # [R, D]
    lse_b: tl.tensor,  # [R] fp32
    out: tl.tensor,  # [R, D]
    lse: tl.tensor,  # [R] fp32
    rows: tl.tensor,
    size: tl.constexpr,
    tile_rows: tl.constexpr,
) -> None:
    """Program i merges rows [i * tile_rows, (i + 1) * tile_rows) of a and b."""
    row = tl.program_id(0) * tile_rows + tl.arange(0, tile_rows)
    inside = row < rows
    at = row[:, None].to(tl.int64) * size + tl.arange(0, size)[None, :]
    m = tl.full([tile_rows], float("-inf"), tl.float32)
    z = tl.zeros([tile_rows], tl.float32)
    acc = tl.zeros([tile_rows, size], tl.float32)
    first = tl.load(lse_a + row, mask=inside, other=float("-inf"))
    m, z, acc = fold(m, z, acc, first, tl.load(out_a + at, mask=inside[:, None], other=0.0))
    second = tl.load(lse_b + row, mask=inside, other=float("-inf"))
    m, z, acc = fold(m, z, acc, second, tl.load(out_b + at, mask=inside[:, None], other=0.0))
    whole = tl.where(z == 0.0, 1.0, z)
    tl.store(out + at, (acc / whole[:, None]).to(out.dtype.element_ty), mask=inside[:, None])
    tl.store(lse + row, m + tl.log(whole), mask=inside)


def merge_parts(outs: Tensor, lses: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Attention [T, H, D] in `dtype` and log-sum-exp [T, H] fp32 over all of outs [P, T, H, D], lses [P, T, H]."""
    parts, tokens, heads, size = outs.shape
    out = torch.empty(tokens, heads, size, dtype=dtype, device=outs.device)
    lse = torch.empty(tokens, heads, dtype=torch.float32, device=outs.device)
    rows = tokens * heads
    if rows > 0:
        grid = (triton.cdiv(rows, TILE_ROWS),)
        merge_kernel[grid](
            outs.contiguous(), lses.contiguous(), out, lse, parts, rows, size, TILE_ROWS, num_warps=WARPS
        )
    return out, lse


def merge_pair(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Attention over the keys of a and of b, each (out [T, H, D], lse [T, H] fp32), in a's dtype."""
    tokens, heads, size = a[0].shape
    out = torch.empty(tokens, heads, size, dtype=a[0].dtype, device=a[0].device)
    lse = torch.empty(tokens, heads, dtype=torch.float32, device=a[0].device)
    rows = tokens * heads
    if rows > 0:
        inputs = [part.contiguous() for part in (*a, *b)]
        grid = (triton.cdiv(rows, TILE_ROWS),)
        merge_pair_kernel[grid](*inputs, out, lse, rows, size, TILE_ROWS, num_warps=WARPS)
    return out, lse
