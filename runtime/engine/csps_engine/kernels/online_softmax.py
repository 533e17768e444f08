"""The inner step of both attention kernels: fold one tile of keys into a running softmax, in powers of two."""

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def add_keys(
    m: tl.tensor,  # [R] fp32, largest score so far, in units of log2
    z: tl.tensor,  # [R] fp32, sum of 2^(score - m)
    acc: tl.tensor,  # [R, D] fp32
    scores: tl.tensor,  # [R, N] fp32, in units of log2; -inf where a key is not seen
    values: tl.tensor,  # [N, D]
) -> tl.tensor:
    """m, z, acc with the keys of `scores` and `values` added. A row that sees none of them stays as it was."""
    top = tl.maximum(m, tl.max(scores, 1))
    safe = tl.where(top == float("-inf"), 0.0, top)  # -inf minus -inf is not a number; 2^-inf is 0
    weights = tl.exp2(scores - safe[:, None])
    kept = tl.exp2(m - safe)
    z = z * kept + tl.sum(weights, 1)
    acc = tl.dot(weights.to(values.dtype), values, acc * kept[:, None], input_precision="ieee")
    return top, z, acc


@triton.jit
def finish(m: tl.tensor, z: tl.tensor, acc: tl.tensor) -> tl.tensor:
    """Output [R, D] and natural log-sum-exp [R]; 0 and -inf for a row that saw no key."""
    whole = tl.where(z == 0.0, 1.0, z)
    return acc / whole[:, None], (m + tl.log2(whole)) * LN_2
