"""How a model's KV heads share what may be left out, so that the whole model holds its floor at least keys.

Keys fetched and badly served queries add up over heads, so for one price of a badly served query each head's best
tolerance is its own affair; the lowest price at which the whole holds is found by bisection. A head whose attention
is all near at hand gives up its keys first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from csps_engine.calibrate.curve import GRID, Curve


@dataclass(frozen=True, slots=True)
class Floor:
    """What the whole model is to hold on the calibration text."""

    poor: float
    """Largest share of (query, head) pairs that may be badly served."""
    missing: float
    """Largest mean share of attention mass that may be lost."""


@dataclass(frozen=True, slots=True)
class Allotment:
    """A tolerance for each KV head, and what they lead to on the calibration text, over all heads."""

    tolerances: Tensor  # [L, K]
    fetched: float
    poor: float
    missing: float


class Unreachable(ValueError):
    """No tolerance on the grid holds the floor."""


def allot(layers: list[Curve], floor: Floor) -> Allotment:
    """The allotment that holds the floor with the fewest keys, up to the grid's steps."""
    fetched, poor, missing = (
        torch.stack([getattr(curve, field) for curve in layers], 1) for field in ("fetched", "poor", "missing")
    )  # [G, L, K]

    def at(price: float) -> Allotment:
        # Missing mass only breaks ties here; floors of the two are alike in what they ask for.
        best = (fetched + price * (poor + missing)).argmin(0, keepdim=True)
        means = (float(part.gather(0, best).mean()) for part in (fetched, poor, missing))
        return Allotment(torch.tensor(GRID)[best[0]], *means)

    def holds(found: Allotment) -> bool:
        return found.poor <= floor.poor and found.missing <= floor.missing

    low, high = 0.0, 1.0
    while not holds(at(high)):
        low, high = high, 2 * high
        if high > 1e6:
            most = at(high)
            raise Unreachable(
                f"even the smallest tolerance leaves {most.poor:.4f} of the queries badly served and "
                f"{most.missing:.4f} of the attention mass uncovered"
            )
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(at(middle)) else (middle, high)
    return at(high)
