"""Times work on all ranks of a mesh together; every rank is told the slowest one's.

A rank with a CPU quota computes a slice of each period and stands still for the rest of it. A span of few periods holds
more or fewer slices than its share, so that ranks of which one is seen to stand still are timed over a longer one.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from csps_engine.comm.divided import DividedMesh
from csps_engine.comm.mesh import Mesh

SPAN_SECONDS = 0.15
STANDING_SPAN_SECONDS = 0.3
STANDING_SHARE = 0.1
"""Of the time, in which a rank that has work computes nothing, from which it stands still."""
MEETING_SPANS = 2
"""Spans of a difference of two times."""
MAX_REPEATS = 2000


class Stopwatch:
    """All methods are collective. Work may be, too: it is done as often on each rank."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._span_seconds: float | None = None

    def once(self, work: Callable[[], object]) -> float:
        """Seconds of doing it once, without a trial."""
        return self._most(self._timed(work, 1)[0])

    def slowest(self, work: Callable[[], object]) -> float:
        """Seconds of doing it, in the mean of a span of time after two trials.

        The first work tells who stands still, so it must be such that never waits.
        """
        work()
        trial = self.once(work)
        if self._span_seconds is None:
            took, standing = self._timed(work, self._repeats(SPAN_SECONDS, trial))
            if self._most(standing) <= STANDING_SHARE:
                self._span_seconds = SPAN_SECONDS
                return self._most(took)
            self._span_seconds = STANDING_SPAN_SECONDS
        return self._most(self._timed(work, self._repeats(self._span_seconds, trial))[0])

    def meeting(self, work: Callable[[], object], exchange: Callable[[], object]) -> float:
        """Seconds by which doing both in turn takes longer than the work alone does on the slowest rank."""
        work()
        alone, repeats = 0.0, self._repeats(MEETING_SPANS * (self._span_seconds or SPAN_SECONDS), self.once(work))
        began = time.perf_counter()
        for _ in range(repeats):
            alone += self._timed(work, 1)[0]
            exchange()
        together = time.perf_counter() - began
        return max(0.0, self._most(together) - self._most(alone)) / repeats

    def _repeats(self, span_seconds: float, trial: float) -> int:
        return min(MAX_REPEATS, 1 + int(span_seconds / trial))

    def _timed(self, work: Callable[[], object], repeats: int) -> tuple[float, float]:
        """Seconds each, and the share of them in which this process had no processor."""
        self._settle()
        began, worked = time.perf_counter(), time.process_time()
        for _ in range(repeats):
            work()
            self._settle()
        took, worked = time.perf_counter() - began, time.process_time() - worked
        return took / repeats, 1 - worked / took

    def _settle(self) -> None:
        if self._mesh.device.type == "cuda":
            torch.cuda.synchronize(self._mesh.device)

    def _most(self, said: float) -> float:
        """The most that any process of any rank says."""
        most = _most_of(self._mesh, said)
        return _most_of(self._mesh.within, most) if isinstance(self._mesh, DividedMesh) else most


def _most_of(mesh: Mesh, said: float) -> float:
    every = torch.empty(mesh.size, 1, dtype=torch.float64, device=mesh.device)
    mesh.all_gather_into(every, torch.full((1,), said, dtype=torch.float64, device=mesh.device)).wait()
    return float(every.max())
