"""What a rank has done lately: step times, and samples of work that a cost model can be fitted to.

Used on the engine thread; `report` may be called from any other, for each list is replaced or appended to as a whole.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from csps_engine.wire.generated import DecodeReport, PrefillReport, RankLoad, SparseSummary

STEP_WINDOW_SECONDS = 60.0
STEPS_KEPT = 8192
REPORT_WINDOW_SECONDS = 300.0
REPORTS_KEPT = 32
DECODE_SAMPLE_SECONDS = 5.0
EWMA_SHARE = 0.1
"""Weight of the newest step in the moving averages."""


@dataclass(frozen=True, slots=True)
class Queued:
    """What waits in the group, and what it computes."""

    prompt_tokens: int = 0
    """Of those that wait."""
    since: float | None = None
    """When the oldest came; None when nothing waits."""
    running_prompt_tokens: int | None = None
    """Of the prompts that are prefilled now; None where none is ever."""


@dataclass(frozen=True, slots=True)
class PrefillSample:
    """One prompt that was computed whole."""

    tokens: int
    degree: int
    seconds: float
    queued_seconds: float
    sparse: SparseSummary | None = None
    """What its attention left out; None: it was exact."""


@dataclass(frozen=True, slots=True)
class DecodeStep:
    """One step of a pool. `scan_bytes` are read by the busiest rank."""

    rows: int
    context_tokens: int
    ranks: int
    scan_bytes: int
    seconds: float


class LoadMeter:
    """Times are the caller's seconds."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, float]] = deque(maxlen=STEPS_KEPT)
        self._prefills: deque[tuple[float, PrefillReport]] = deque(maxlen=REPORTS_KEPT)
        self._decodes: deque[tuple[float, DecodeReport]] = deque(maxlen=REPORTS_KEPT)
        self._number = 0
        self._next_sample = 0.0
        self.queued = Queued()
        self.step_seconds = 0.0
        """Moving average of a decode step; 0 before the first."""
        self.scan_bytes_per_second = 0.0
        """Moving average of what the busiest rank reads in a step, by the step's time; 0 before the first."""

    def prefilled(self, prompt: PrefillSample, now: float) -> None:
        """A prompt was computed."""
        self._steps.append((now, prompt.seconds))
        report = PrefillReport(
            number=self._next_number(),
            tokens=prompt.tokens,
            degree=prompt.degree,
            seconds=prompt.seconds,
            queued_seconds=prompt.queued_seconds,
            sparse=prompt.sparse,
            age_ms=0,
        )
        self._prefills.append((now, report))

    def stepped(self, seconds: float, now: float) -> None:
        """A decode step is over."""
        self._steps.append((now, seconds))
        self.step_seconds = _moved(self.step_seconds, seconds)

    def wants_sample(self, now: float) -> bool:
        """Whether the step that is just over should be told in full."""
        return now >= self._next_sample

    def sampled(self, step: DecodeStep, now: float) -> None:
        """The facts of a step that is over."""
        self._next_sample = now + DECODE_SAMPLE_SECONDS
        if step.seconds > 0:
            self.scan_bytes_per_second = _moved(self.scan_bytes_per_second, step.scan_bytes / step.seconds)
        report = DecodeReport(
            number=self._next_number(),
            rows=step.rows,
            context_tokens=step.context_tokens,
            ranks=step.ranks,
            seconds=step.seconds,
            age_ms=0,
        )
        self._decodes.append((now, report))

    def report(self, now: float) -> RankLoad:
        seconds = sorted(took for at, took in list(self._steps) if now - at <= STEP_WINDOW_SECONDS)
        queued = self.queued
        return RankLoad(
            steps=len(seconds),
            step_p50_ms=1000 * _quantile(seconds, 0.5),
            step_p99_ms=1000 * _quantile(seconds, 0.99),
            waiting_prompt_tokens=queued.prompt_tokens,
            running_prompt_tokens=queued.running_prompt_tokens,
            oldest_wait_ms=0 if queued.since is None else _age_ms(queued.since, now),
            prefills=[
                report.model_copy(update={"age_ms": _age_ms(at, now)})
                for at, report in list(self._prefills)
                if now - at <= REPORT_WINDOW_SECONDS
            ],
            decodes=[
                report.model_copy(update={"age_ms": _age_ms(at, now)})
                for at, report in list(self._decodes)
                if now - at <= REPORT_WINDOW_SECONDS
            ],
        )

    def _next_number(self) -> int:
        self._number += 1
        return self._number


def _quantile(ascending: list[float], share: float) -> float:
    """The smallest value that `share` of all reach; 0 of none."""
    if not ascending:
        return 0.0
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]


def _age_ms(at: float, now: float) -> int:
    return max(0, int(1000 * (now - at)))


def _moved(average: float, newest: float) -> float:
    return newest if average == 0 else average + EWMA_SHARE * (newest - average)
