"""Prompts that wait for the group, as they came, each with its deadline."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from csps_engine.core.plan import AttentionKind, Sampling
from csps_engine.wire.generated import Reservation


@dataclass(frozen=True, slots=True)
class PrefillTask:
    request_id: str
    token_ids: tuple[int, ...]
    sampling: Sampling
    reservation: Reservation
    received_at: float
    """time.monotonic()"""
    deadline: float
    attention: AttentionKind | None = None
    """None: sparse where the group may and where it pays."""
    degree: int = 0
    """Ranks that should compute it; 0: as many as pay."""
    objective_seconds: float = math.inf
    """Between its arrival and its first token."""
    waited_seconds: float = 0.0
    """Between its arrival and when it was received."""


class PrefillQueue:
    """The engine thread owns it."""

    def __init__(self) -> None:
        self._tasks: deque[PrefillTask] = deque()

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def prompt_tokens(self) -> int:
        """Of all that waits."""
        return sum(len(task.token_ids) for task in self._tasks)

    @property
    def oldest(self) -> float | None:
        """When the first in line came."""
        return self._tasks[0].received_at if self._tasks else None

    def add(self, task: PrefillTask) -> None:
        self._tasks.append(task)

    def remove(self, request_id: str) -> bool:
        kept = [task for task in self._tasks if task.request_id != request_id]
        removed = len(kept) < len(self._tasks)
        self._tasks = deque(kept)
        return removed

    def holds(self, request_id: str) -> bool:
        return any(task.request_id == request_id for task in self._tasks)

    def take_late(self, now: float) -> list[PrefillTask]:
        """Remove and return the tasks whose deadline has passed."""
        late = [task for task in self._tasks if task.deadline <= now]
        if late:
            self._tasks = deque(task for task in self._tasks if task.deadline > now)
        return late

    def take(self, request_id: str) -> PrefillTask:
        """Remove and return the first one of this name; KeyError when it does not wait."""
        for number, task in enumerate(self._tasks):
            if task.request_id == request_id:
                del self._tasks[number]
                return task
        raise KeyError(request_id)

    def waiting(self) -> list[PrefillTask]:
        """All of them, the oldest first."""
        return list(self._tasks)

    def take_all(self) -> list[PrefillTask]:
        taken, self._tasks = list(self._tasks), deque()
        return taken

    def next_deadline(self) -> float | None:
        return min((task.deadline for task in self._tasks), default=None)
