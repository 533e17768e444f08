"""Reservations that wait for pages: first come first served, so that a long request is not passed by short ones."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_WAITING = 256


@dataclass(frozen=True, slots=True)
class Asker(Generic[T]):
    """Who waits for a reservation, and how long."""

    until: float
    whom: T
    """To be answered."""


@dataclass(frozen=True, slots=True)
class Waiting(Generic[T]):
    """One reservation that waits: for several when it was asked for again meanwhile."""

    request_id: str
    prompt_tokens: int
    max_new_tokens: int
    lease_ms: int
    since: float
    askers: tuple[Asker[T], ...]
    keys: tuple[str, ...] = ()
    """Of the prompt's full pages; see PoolBook.reserve."""

    def joined(self, again: Waiting[T]) -> Waiting[T]:
        """The same, asked for once more: it keeps its place, and each asker the time that was asked for."""
        return replace(self, askers=self.askers + again.askers, lease_ms=max(self.lease_ms, again.lease_ms))


class PageQueue(Generic[T]):
    """The engine thread owns it. Times are the caller's seconds."""

    def __init__(self, limit: int = MAX_WAITING) -> None:
        self._limit = limit
        self._waiting: OrderedDict[str, Waiting[T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        return len(self._waiting) >= self._limit

    @property
    def first(self) -> Waiting[T] | None:
        return next(iter(self._waiting.values()), None)

    @property
    def prompt_tokens(self) -> int:
        return sum(one.prompt_tokens for one in self._waiting.values())

    def add(self, one: Waiting[T]) -> None:
        """At the end, or in the place of the one with the same id."""
        self._waiting[one.request_id] = one

    def find(self, request_id: str) -> Waiting[T] | None:
        return self._waiting.get(request_id)

    def remove(self, request_id: str) -> Waiting[T] | None:
        return self._waiting.pop(request_id, None)

    def take_late(self, now: float) -> list[Waiting[T]]:
        """Remove and return those that waited long enough, each with the askers for whom it did."""
        late = []
        for one in list(self._waiting.values()):
            patient = tuple(asker for asker in one.askers if asker.until > now)
            if len(patient) == len(one.askers):
                continue
            late.append(replace(one, askers=tuple(asker for asker in one.askers if asker.until <= now)))
            if patient:
                self._waiting[one.request_id] = replace(one, askers=patient)
            else:
                del self._waiting[one.request_id]
        return late

    def next_deadline(self) -> float | None:
        return min((asker.until for one in self._waiting.values() for asker in one.askers), default=None)

    def take_all(self) -> list[Waiting[T]]:
        taken = list(self._waiting.values())
        self._waiting.clear()
        return taken
