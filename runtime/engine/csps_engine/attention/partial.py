"""Partial attention results and their exact merge.

Attention over disjoint sets of keys A and B combines as
    l = log(e^lA + e^lB);   o = e^(lA-l) oA + e^(lB-l) oB
where l is the log-sum-exp of the scores. The merge is associative and commutative up to rounding, so keys may
be split any way; a fixed order makes it reproducible. A set without visible keys has l = -inf and adds nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from csps_engine.kernels.choice import kernels_for


class Partial(NamedTuple):
    """Attention of T queries over some of their keys."""

    out: Tensor  # [T, H, D]
    lse: Tensor  # [T, H] fp32, natural logarithm; -inf where no key was visible


def nothing(queries: Tensor) -> Partial:
    """The neutral element of `merge` for queries [T, H, D]."""
    lse = torch.full(queries.shape[:2], float("-inf"), dtype=torch.float32, device=queries.device)
    return Partial(torch.zeros_like(queries), lse)


def merge(a: Partial, b: Partial) -> Partial:
    """Attention over the union of two disjoint key sets, in fp32, returned in the dtype of `a.out`."""
    kernels = kernels_for(a.out)
    if kernels is not None:
        return Partial(*kernels.merge_pair(a, b))
    lse = torch.logaddexp(a.lse, b.lse)
    safe = torch.where(torch.isneginf(lse), 0.0, lse)  # -inf minus -inf is not a number; e^-inf is 0
    weight_a = torch.exp(a.lse - safe).unsqueeze(-1)
    weight_b = torch.exp(b.lse - safe).unsqueeze(-1)
    return Partial((a.out * weight_a + b.out * weight_b).to(a.out.dtype), lse)


def merge_many(out: Tensor, lse: Tensor) -> Partial:
    """Merge P partials, out [P, T, H, D] and lse [P, T, H] in fp32, in the order of the first dimension."""
    kernels = kernels_for(out)
    if kernels is not None:
        return Partial(*kernels.merge_parts(out, lse, out.dtype))
    total = torch.logsumexp(lse, 0)
    safe = torch.where(torch.isneginf(total), 0.0, total)
    weights = torch.exp(lse - safe).unsqueeze(-1)
    merged = out[0] * weights[0]
    for part, weight in zip(out[1:], weights[1:], strict=True):
        merged = merged + part * weight
    return Partial(merged, total)
