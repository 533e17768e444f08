"""The table of a run: medians, spread, ratios, bytes and waiting."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.emulation.suites import Case

WIDTHS = "{:34}{:>10}{:>17}{:>9}{:>17}{:>12}{:>9}  {}"
HEADS = ("", "median s", "lowest-highest", "ratio", "lowest-highest", "sent MB", "waited", "attention")


@dataclass
class Measured:
    """A case and what its ranks answered, by repeat and rank."""

    case: Case
    answers: list[list[dict[str, Any]]] = field(default_factory=list)

    @property
    def seconds(self) -> list[float]:
        """By repeat: the slowest rank's time of a prompt, or its mean step."""
        return [max(_seconds(answer) for answer in ranks) for ranks in self.answers]

    @property
    def sent_bytes(self) -> int:
        """By all ranks together, of a prompt or of a step (the bytes do not vary)."""
        sent = [a["sent_bytes"] if "sent_bytes" in a else a["step_bytes"][-1] for a in self.answers[-1]]
        return sum(sent)

    @property
    def waited_share(self) -> float:
        """Of the time, on the rank that waited longest; medians over repeats."""
        shares = [max(a.get("waited", 0.0) / _seconds(a) for a in ranks) for ranks in self.answers]
        return statistics.median(shares)

    @property
    def form(self) -> str:
        """What attention the ranks took in the last repeat, where they say so."""
        told = self.answers[-1][0]
        if told.get("sparse") is not None:
            return "sparse"
        pieces = told.get("pieces")
        return "" if pieces is None else f"dense, {pieces} piece{'s' if pieces > 1 else ''}"

    @property
    def covered(self) -> str:
        """What sparse attention held and fetched in the last repeat; empty where there was none."""
        told = [answer["sparse"] for answer in self.answers[-1] if answer.get("sparse") is not None]
        if not told:
            return ""
        share = sum(one["fetched_bytes"] for one in told) / max(1, sum(one["available_bytes"] for one in told))
        return (
            f"{self.case.name}: {told[0]['mass_mean']:.4f} of the attention mass in the mean and "
            f"{told[0]['mass_p01']:.3f} at the 1st percentile of {told[0]['audited']}, with {share:.3f} of 16-bit KV"
        )

    @property
    def predicted(self) -> list[float]:
        """Layer times of the slowest rank over predicted ones, where the ranks predicted them."""
        return [
            max(seconds) / ranks[0]["predicted_layer"]
            for ranks in self.answers
            if "predicted_layer" in ranks[0]
            for seconds in zip(*(answer["layer_seconds"] for answer in ranks), strict=True)
        ]


def table(measured: Sequence[Measured]) -> str:
    """One row a case; a ratio above 1 is a gain over the row it is compared with, repeat by repeat."""
    by_name = {one.case.name: one for one in measured}
    lines = [WIDTHS.format(*HEADS)]
    for one in measured:
        against = by_name.get(one.case.against, one)
        pairs = zip(against.seconds, one.seconds, strict=True)
        ratios = [theirs / ours for theirs, ours in pairs]
        spread, ratio_spread = (f"{min(column):.3f}-{max(column):.3f}" for column in (one.seconds, ratios))
        lines.append(
            WIDTHS.format(
                one.case.name,
                f"{statistics.median(one.seconds):.3f}",
                spread,
                f"{statistics.median(ratios):.3f}",
                ratio_spread,
                f"{one.sent_bytes / 1e6:.3f}",
                f"{100 * one.waited_share:.0f} %",
                one.form,
            ).rstrip()
        )
    lines += [one.covered for one in measured if one.covered]
    errors = [abs(ratio - 1) for one in measured for ratio in one.predicted]
    if errors:
        lines += ["", "layers of the slowest rank over the cost model's prediction, lowest to highest:"]
        lines += [
            f"  {one.case.name:34}" + " ".join(f"{ratio:.2f}" for ratio in sorted(one.predicted))
            for one in measured
            if one.predicted
        ]
        lines.append(f"cost model: {len(errors)} layers, error of the prediction {_median_and_p90(errors)}")
        stray = [abs(ratio / statistics.median(one.predicted) - 1) for one in measured for ratio in one.predicted]
        lines.append(f"the same layers stray from their own median by {_median_and_p90(stray)}")
    return "\n".join(lines)


def _median_and_p90(values: Sequence[float]) -> str:
    rising = sorted(values)
    p90 = rising[min(len(rising) - 1, int(0.9 * len(rising)))]
    return f"{100 * statistics.median(rising):.0f} % in the median, {100 * p90:.0f} % at p90"


def _seconds(answer: dict[str, Any]) -> float:
    return float(answer["wall"]) if "wall" in answer else statistics.mean(answer["step_seconds"])
