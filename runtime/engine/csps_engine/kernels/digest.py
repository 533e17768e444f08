"""Digests of key blocks on the device; the definition and the torch form are in `csa.digest`.

One program a block and KV head reads the keys once. Divisions round as IEEE says, so a digest equals the torch
form bit for bit.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

SCALE_BYTES = 4
STEPS = tl.constexpr(127)
SCALE_OF_LARGEST = tl.constexpr((1 + 2.0**-20) / 127)
SMALLEST_SCALE = tl.constexpr(1e-30)


@triton.jit(do_not_specialize=["tokens"])
def digest_kernel(
    k: tl.tensor,  # [K, n, D]
    digests: tl.tensor,  # [C, K, 2D + 4] int8
    tokens: tl.tensor,
    k_head: tl.tensor,
    k_token: tl.tensor,
    block: tl.constexpr,
    size: tl.constexpr,
) -> None:
    """Program (c, u) writes the digest of block c of KV head u."""
    c, u = tl.program_id(0), tl.program_id(1)
    rows = c * block + tl.arange(0, block)
    columns = tl.arange(0, size)
    inside = rows[:, None] < tokens
    at = u.to(tl.int64) * k_head + rows[:, None].to(tl.int64) * k_token + columns[None, :]
    keys = tl.load(k + at, mask=inside, other=0.0).to(tl.float32)  # [block, D]
    low = tl.min(tl.where(inside, keys, float("inf")), 0)
    high = tl.max(tl.where(inside, keys, float("-inf")), 0)
    largest = tl.max(tl.maximum(tl.abs(low), tl.abs(high)), 0)
    scale = tl.maximum(largest * SCALE_OF_LARGEST, SMALLEST_SCALE)
    divisor = tl.zeros([size], tl.float32) + scale
    low_steps = tl.floor(tl.div_rn(low, divisor))
    high_steps = tl.ceil(tl.div_rn(high, divisor))
    # Division and product round once each: step further out where that lost the bound.
    low_steps = tl.where(low_steps * scale > low, low_steps - 1, low_steps)
    high_steps = tl.where(high_steps * scale < high, high_steps + 1, high_steps)
    high_steps = tl.minimum(high_steps, STEPS)
    row = digests + (c.to(tl.int64) * tl.num_programs(1) + u) * (2 * size + 4)
    tl.store(row + columns, low_steps.to(tl.int8))
    tl.store(row + size + columns, high_steps.to(tl.int8))
    bits = scale.to(tl.int32, bitcast=True)
    byte = tl.arange(0, 4)
    tl.store(row + 2 * size + byte, ((bits >> (8 * byte)) & 0xFF).to(tl.int8))  # little-endian, as torch views it


def digest(k: Tensor, block_tokens: int) -> Tensor:
    """Digests [blocks, K, 2D + 4] int8 of k [K, n, D]; the last block may be short."""
    heads, tokens, size = k.shape
    k = k if k.stride(2) == 1 else k.contiguous()
    blocks = triton.cdiv(tokens, block_tokens)
    digests = torch.empty(blocks, heads, 2 * size + SCALE_BYTES, dtype=torch.int8, device=k.device)
    if blocks > 0:
        grid = (blocks, heads)
        digest_kernel[grid](k, digests, tokens, k.stride(0), k.stride(1), block_tokens, size, num_warps=1)
    return digests
