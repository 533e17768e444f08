"""Digests of key blocks, and the bound on scores that they give.

A block's digest is the elementwise minimum and maximum of its keys, per KV head, in int8 with one fp32 scale. They
are rounded outward, so for every query q and key x of the block
    q·x <= sum_i max(q_i*lo_i, q_i*hi_i)
holds as it does unrounded (Quest's bound). A digest takes 2D + 4 bytes, about 1/block of the K and V it stands for
in 16 bits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from csps_engine.kernels.choice import kernels_for

SCALE_BYTES = 4
_STEPS = 127
_SLACK = 1 + 2.0**-20  # keeps the largest element within 127 steps after fp32 rounding


def digest(k: Tensor, block_tokens: int) -> Tensor:
    """Digests [blocks, K, 2D + 4] int8 of k [K, n, D]; the last block may be short."""
    kernels = kernels_for(k)
    if kernels is not None:
        return kernels.digest(k, block_tokens)
    missing = -k.shape[1] % block_tokens
    if missing:
        k = torch.cat([k, k[:, -1:].expand(-1, missing, -1)], 1)
    blocks = k.float().unflatten(1, (-1, block_tokens))  # [K, blocks, block_tokens, D]
    low, high = blocks.amin(2), blocks.amax(2)
    largest = torch.maximum(low.abs(), high.abs()).amax(-1, keepdim=True)
    scale = (largest * (_SLACK / _STEPS)).clamp_min(1e-30)
    low_steps, high_steps = (low / scale).floor(), (high / scale).ceil()
    # Division and product round once each: step further out where that lost the bound.
    low_steps = low_steps - (low_steps * scale > low).float()
    high_steps = (high_steps + (high_steps * scale < high).float()).clamp_max(_STEPS)
    parts = [low_steps.to(torch.int8), high_steps.to(torch.int8), scale.contiguous().view(torch.int8)]
    return torch.cat(parts, -1).transpose(0, 1).contiguous()


def limits(digests: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper limits of keys, each [blocks, K, D] fp32."""
    size = (digests.shape[-1] - SCALE_BYTES) // 2
    scale = digests[..., 2 * size :].contiguous().view(torch.float32)
    return digests[..., :size].float() * scale, digests[..., size : 2 * size].float() * scale
