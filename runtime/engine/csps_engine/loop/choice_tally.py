"""What the steps of one request read where they chose blocks, summed up for the end of its answer."""

from __future__ import annotations

from csps_engine.core.plan import ChoiceReport
from csps_engine.wire.generated import SparseDecodeSummary


class ChoiceTally:
    """Of the steps that this coordinator saw."""

    def __init__(self) -> None:
        self._steps = self._read = self._skipped = 0
        self._left = self._covered = 0.0

    def add(self, report: ChoiceReport) -> None:
        self._steps += 1
        self._read += report.read_tokens
        self._skipped += report.skipped_tokens
        self._left += report.left_bound
        self._covered += report.covered

    @property
    def covered(self) -> float:
        """Mean share of attention; 1 before the first step."""
        return self._covered / self._steps if self._steps else 1.0

    def summary(self) -> SparseDecodeSummary:
        steps, keys = max(1, self._steps), self._read + self._skipped
        return SparseDecodeSummary(
            read_share=self._read / keys if keys else 1.0,
            mass_mean=min(1.0, self.covered),
            left_bound=min(1.0, self._left / steps),
        )
