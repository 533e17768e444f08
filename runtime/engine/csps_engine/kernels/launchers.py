"""The kernels' launchers as one value, without Triton: whoever is given one needs not know where it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Launchers:
    """One launcher a kernel; each is described where it is defined."""

    digest: Callable[[Tensor, int], Tensor]
    neediest: Callable[[Tensor, Tensor, Tensor], Tensor]
    expected_weight: Callable[[Tensor, Tensor, float, float], Tensor]
    attend_blocks: Callable[..., tuple[Tensor, Tensor]]
    tile_queries: Callable[[torch.dtype, int], int]
    attend_pages: Callable[..., tuple[Tensor, Tensor]]
    merge_parts: Callable[[Tensor, Tensor, torch.dtype], tuple[Tensor, Tensor]]
    merge_pair: Callable[[tuple[Tensor, Tensor], tuple[Tensor, Tensor]], tuple[Tensor, Tensor]]
