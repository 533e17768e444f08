"""What the requests of a load met with, and both systems beside each other."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.mixed.load import Ask


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request as its client saw it."""

    ask: Ask
    token_s: tuple[float, ...]
    """When each token came, on the clock of the arrivals."""

    @property
    def first_token_s(self) -> float:
        return self.token_s[0] - self.ask.arrival_s

    @property
    def response_s(self) -> float:
        return self.token_s[-1] - self.ask.arrival_s

    @property
    def gaps_s(self) -> list[float]:
        """Between consecutive tokens."""
        return [b - a for a, b in itertools.pairwise(self.token_s)]


def prefill_rate(outcomes: Sequence[Outcome]) -> float:
    """Prompt tokens per second of waiting for a first token."""
    return sum(o.ask.prompt_tokens for o in outcomes) / sum(o.first_token_s for o in outcomes)


def decode_rate(outcomes: Sequence[Outcome]) -> float:
    """Tokens per second of waiting for a next token."""
    return sum(len(o.gaps_s) for o in outcomes) / sum(sum(o.gaps_s) for o in outcomes)


def _tbt(outcomes: Sequence[Outcome]) -> list[float]:
    return [gap for outcome in outcomes for gap in outcome.gaps_s]


Figure = Callable[[Sequence[Outcome]], float]

# Name, unit, figure, whether less is better, the paper's ratio (None: it tells none).
FIGURES: tuple[tuple[str, str, Figure, bool, float | None], ...] = (
    ("mean time to first token", "s", lambda os: statistics.mean(o.first_token_s for o in os), True, 7.5),
    ("p90 time to first token", "s", lambda os: _p90([o.first_token_s for o in os]), True, None),
    ("mean time between tokens", "s", lambda os: statistics.mean(_tbt(os)), True, 1.92),
    ("p90 time between tokens", "s", lambda os: _p90(_tbt(os)), True, None),
    ("mean response time", "s", lambda os: statistics.mean(o.response_s for o in os), True, 9.8),
    ("prefill throughput", "tokens/s", prefill_rate, False, 8.2),
    ("decode throughput", "tokens/s", decode_rate, False, 5.2),
    ("until all were answered", "s", lambda os: max(o.token_s[-1] for o in os), True, None),
)


def table(baseline: Sequence[Outcome], product: Sequence[Outcome]) -> str:
    """A ratio above 1 is a gain of the product."""
    lines = [f"{'':26}{'unit':>10}{'Sarathi-style':>15}{'this engine':>13}{'gain':>8}{'paper':>8}"]
    for name, unit, figure, less, paper in FIGURES:
        theirs, ours = figure(baseline), figure(product)
        gain = theirs / ours if less else ours / theirs
        told = "" if paper is None else f"{paper:.2f}"
        lines.append(f"{name:26}{unit:>10}{theirs:15.3f}{ours:13.3f}{gain:8.2f}{told:>8}")
    return "\n".join(lines)


def _p90(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(0.9 * len(values)))]
