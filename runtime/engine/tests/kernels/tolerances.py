"""How far a kernel may be from its torch form: the one table. Digests are equal bit for bit and have no line."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Tolerance(NamedTuple):
    """Largest absolute difference, for values and scores of order one; `lse` also of votes."""

    out: float
    lse: float


TOLERANCES = {
    torch.float32: Tolerance(out=2e-6, lse=5e-6),
    # Weights are rounded to the input's type before they multiply the values: half a unit in the last place each.
    torch.float16: Tolerance(out=2e-3, lse=2e-4),
    torch.bfloat16: Tolerance(out=1.6e-2, lse=1e-3),
}
STRONG_SCORES = Tolerance(out=1e-3, lse=1e-3)
"""For scores of ±500 and more in fp32: 1e-6 of the score itself."""
