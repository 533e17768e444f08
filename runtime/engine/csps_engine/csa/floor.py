"""What a rank does about coverage below the floor: it fetches more in the layers that follow.

Every rank decides for itself, since it alone says what it fetches.
"""

from __future__ import annotations

LEAST_FACTOR = 1 / 16
ROUNDING = 1e-5
"""By so much the share of a query that has all its keys may differ from 1, for the two sums are taken in two ways."""


class Floor:
    """Watches the audited attention mass of one rank, layer by layer."""

    def __init__(self, least_mean: float) -> None:
        self._least_mean = least_mean
        self.factor = 1.0
        """What every tolerance is multiplied with."""

    @property
    def budgets_hold(self) -> bool:
        """Whether budgets count: not while quality is short."""
        return self.factor == 1.0

    def heard(self, mean: float) -> None:
        """The mean share covered so far; called after each layer."""
        short = mean < self._least_mean - ROUNDING
        self.factor = max(LEAST_FACTOR, self.factor / 2) if short else min(1.0, self.factor * 2)
