"""Reservations that wait for pages: first come first served, so that a long request is not passed by short ones."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_WAITING = 256


@dataclass(frozen=True, slots=True)
class Waiting(Generic[T]):
    """One reservation that waits; `asker` is whom to answer."""

    request_id: str
    prompt_tokens: int
    max_new_tokens: int
    lease_ms: int
    since: float
    until: float
    asker: T
    keys: tuple[str, ...] = ()
    """Of the prompt's full pages; see PoolBook.reserve."""


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
        """At the end; a request that asks again keeps its place."""
        self._waiting[one.request_id] = one

    def find(self, request_id: str) -> Waiting[T] | None:
        return self._waiting.get(request_id)

    def remove(self, request_id: str) -> Waiting[T] | None:
        return self._waiting.pop(request_id, None)

    def take_late(self, now: float) -> list[Waiting[T]]:
        """Remove and return those that waited long enough."""
        late = [one for one in self._waiting.values() if one.until <= now]
        for one in late:
            del self._waiting[one.request_id]
        return late

    def next_deadline(self) -> float | None:
        return min((one.until for one in self._waiting.values()), default=None)

    def take_all(self) -> list[Waiting[T]]:
        taken = list(self._waiting.values())
        self._waiting.clear()
        return taken
