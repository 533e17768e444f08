"""Rotary position embedding in the interleaved-pairs layout.

Elements 2i and 2i+1 of a head are one complex number, turned by position * frequency[i]; the layout makes the
rotation a single complex product.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from csps_engine.model.config import ModelConfig, RopeScaling


def frequencies(config: ModelConfig) -> Tensor:
    """Angle per position of each pair [head_dim/2], fp32 on the CPU."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.int64).float() / config.head_dim
    base = 1.0 / (config.rope_theta**exponents)
    return base if config.rope_scaling is None else _scale(base, config.rope_scaling)


def _scale(base: Tensor, scaling: RopeScaling) -> Tensor:
    if scaling.original_context == 0:
        return base / scaling.factor
    # Llama 3: long wavelengths are stretched, short ones kept, those between blended.
    wavelength = 2 * math.pi / base
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    blend = ((scaling.original_context / wavelength - low) / (high - low)).clamp(0.0, 1.0)
    return (1 - blend) * base / scaling.factor + blend * base


def rotation(positions: Tensor, frequency: Tensor) -> Tensor:
    """Unit complex numbers [T, 1, head_dim/2] that turn heads at `positions` [T]."""
    angle = torch.outer(positions.float(), frequency)
    return torch.polar(torch.ones_like(angle), angle).unsqueeze(1)


def rotate(heads: Tensor, turn: Tensor) -> Tensor:
    """Turn heads [T, H, head_dim] by `turn` [T, 1, head_dim/2]; computed in fp32, returned in the input's dtype."""
    pairs = torch.view_as_complex(heads.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2).to(heads.dtype)
