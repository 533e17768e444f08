"""Rotary position embedding in the interleaved-pairs layout.

Elements 2i and 2i+1 of a head are one complex number, turned by position * frequency[i]; the layout makes the
rotation a single complex product. With f_i = theta^(-2i/d), the forms of scaling are
    linear    f_i / factor
    divisors  f_i / divisor_i
    llama3    f_i / factor for wavelengths above original/low, f_i below original/high, blended between
    yarn      f_i / factor for pairs that turn less than beta_slow times over the original context, f_i for those
              that turn more than beta_fast times, a linear ramp between (arXiv 2309.00071)
    dynamic   theta grows with the length n: theta * (factor*n/original - (factor-1))^(d/(d-2)) beyond the original
              context; n is the token's own position + 1, so that its key depends on nothing that comes later
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from csps_engine.model.config import ModelConfig, RopeScaling


class Rope:
    """The rotations of one model's heads."""

    def __init__(self, config: ModelConfig, device: torch.device | str = "cpu") -> None:
        scaling = config.rope_scaling
        self._theta = config.rope_theta
        self._exponents = (torch.arange(0, config.head_dim, 2).float() / config.head_dim).to(device)
        self._dynamic = scaling if scaling is not None and scaling.kind == "dynamic" else None
        self._magnitude = 1.0 if scaling is None else scaling.magnitude
        self._frequency = frequencies(config).to(device)

    def turn(self, positions: Tensor) -> Tensor:
        """Complex numbers [T, 1, head_dim/2] that turn heads at `positions` [T]."""
        times = positions.float().unsqueeze(1)
        angle = times * (self._frequency if self._dynamic is None else self._grown(times, self._dynamic))
        return torch.polar(torch.full_like(angle, self._magnitude), angle).unsqueeze(1)

    def _grown(self, times: Tensor, scaling: RopeScaling) -> Tensor:
        """Frequencies [T, head_dim/2] of tokens at positions `times` [T, 1]."""
        length = (times + 1).clamp(min=scaling.original_context)
        size = 2 * len(self._exponents)
        growth = scaling.factor * length / scaling.original_context - (scaling.factor - 1)
        return 1.0 / (self._theta * growth ** (size / (size - 2))) ** self._exponents


def frequencies(config: ModelConfig) -> Tensor:
    """Angle per position of each pair [head_dim/2] within the trained context, fp32 on the CPU."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.int64).float() / config.head_dim
    base = 1.0 / (config.rope_theta**exponents)
    scaling = config.rope_scaling
    if scaling is None or scaling.kind == "dynamic":
        return base
    if scaling.kind == "linear":
        return base / scaling.factor
    if scaling.kind == "divisors":
        return base / torch.tensor(scaling.divisors)
    kept = _kept_llama3(base, scaling) if scaling.kind == "llama3" else _kept_yarn(config, scaling)
    return (1 - kept) * base / scaling.factor + kept * base


def yarn_magnitude(factor: float, mscale: float = 1.0) -> float:
    """The attention factor of YaRN where a model states none."""
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0


def rotate(heads: Tensor, turn: Tensor) -> Tensor:
    """Turn heads [T, H, head_dim] by `turn` [T, 1, head_dim/2]; computed in fp32, returned in the input's dtype."""
    pairs = torch.view_as_complex(heads.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2).to(heads.dtype)


def _kept_llama3(base: Tensor, scaling: RopeScaling) -> Tensor:
    """Share of each frequency that is left as it was."""
    wavelength = 2 * math.pi / base
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    return ((scaling.original_context / wavelength - low) / (high - low)).clamp(0.0, 1.0)


def _kept_yarn(config: ModelConfig, scaling: RopeScaling) -> Tensor:
    """Share of each frequency that is left as it was."""

    def pair_that_turns(times: float) -> float:
        turns = scaling.original_context / (times * 2 * math.pi)
        return config.head_dim * math.log(turns) / (2 * math.log(config.rope_theta))

    low, high = pair_that_turns(scaling.beta_fast), pair_that_turns(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, config.head_dim - 1)
    width = high - low if high != low else 0.001
    ramp = (torch.arange(config.head_dim // 2, dtype=torch.float32) - low) / width
    return 1 - ramp.clamp(0.0, 1.0)
