"""Which waiting prompts begin now, and on which ranks of a prefill group: pure.

A prompt takes as many ranks as it ends first with, waiting for them included, of those numbers that pay: so a long one
takes all when they are free, and a short one what is free. Where a degree is wanted, it takes so many when they are
free, and fewer if it ends sooner with what is.
Prompts go by their turn (turn.py). When the next in turn waits for ranks, later ones may use these meanwhile if they
end by the time it can begin (backfill). So nobody is passed for ever.

A prompt that finds its ranks at much longer ones goes before these, between two of their layers, as long as all that
did so delay them by no more than YIELD_SHARE of their own time. Short prompts that would wait for a rank are computed
in one pass with one that begins alone on a rank now, for reading weights is what takes their time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from csps_engine.scheduler.turn import NO_OBJECTIVE, Objective, turn

MIN_EFFICIENCY = 0.5
"""Of P ranks, T(1) / (P T(P)); where no degree is wanted, fewer ranks are taken than would pass below it."""
BUSY_EFFICIENCY = 0.75
"""The same while other prompts wait: they could use the ranks."""
YIELD_SHARE = 1.0
"""Of its own time, a prompt that was begun is delayed at most by shorter ones."""
MUCH_LONGER = 2.0
"""So many times what a prompt takes must be left of those that it goes before."""

Seconds = Callable[[int, int], float]
"""What a prompt of so many tokens takes on so many ranks."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A prompt in the queue."""

    request_id: str
    tokens: int
    since: float
    degree: int = 0
    """Ranks that it is to take; 0: as many as pay."""
    joins: bool = True
    """It may be computed in one pass with others."""
    objective: Objective = NO_OBJECTIVE


@dataclass(frozen=True, slots=True)
class Underway:
    """A prompt that some ranks compute."""

    ranks: tuple[int, ...]
    seconds_left: float
    yields: float = 0.0
    """Seconds by which shorter ones that go before it may delay it from now on."""
    before: bool = False
    """It goes before what else its ranks are at."""


@dataclass(frozen=True, slots=True)
class Group:
    """The ranks that may take work, what they are at, and what prompts cost there."""

    ranks: tuple[int, ...]
    underway: tuple[Underway, ...]
    seconds: Seconds
    line_seconds: float = 0.0
    """A rank that computes prompts alone may take one more behind them if it is at those for so long at most."""
    fits: Callable[[int, int], bool] = lambda tokens, ranks: True
    """Whether so many ranks may compute a prompt of so many tokens; all of them together always may."""
    pass_tokens: int = 0
    """Prompts on one rank that have no more tokens together are computed in one pass."""


@dataclass(frozen=True, slots=True)
class Start:
    """A prompt begins on these ranks, in rising order."""

    request_id: str
    ranks: tuple[int, ...]
    before: bool = False
    """It goes before what its ranks are at."""
    joined: str = ""
    """The prompt that it is computed in one pass with, if it is not the first of those."""


def assign(waiting: Sequence[Waiting], group: Group) -> list[Start]:
    """What begins now. Ranks of a start are free, or for a start on one rank in line behind other such starts."""
    desk = _Desk(group)
    starts: list[Start] = []
    held: tuple[frozenset[int], float] | None = None
    turns = sorted(waiting, key=lambda one: _turn(one, group))
    for prompt in turns:
        if not desk.open:
            break
        options = _wanted(prompt, desk, group) or _worthwhile(prompt, group, alone=len(waiting) == 1)
        if held is None:
            ranks, begin = min((desk.earliest(count) for count in options), key=lambda found: desk.end(prompt, *found))
            if begin == 0:
                starts.append(desk.start(prompt, ranks))
                continue
        else:
            fitting = [now for count in options if (now := desk.beside(prompt, count, *held)) is not None]
            if fitting:
                best = min(fitting, key=lambda now: desk.end(prompt, now, 0.0))
                starts.append(desk.start(prompt, best))
                continue
        wait = desk.end(prompt, ranks, begin) if held is None else math.inf
        ahead = desk.ahead(prompt, options, held[0] if held is not None else frozenset(), wait)
        if ahead:
            starts.append(desk.start(prompt, ahead, before=True))
        elif held is None:
            held = (frozenset(ranks), begin)
    return _joined(starts, turns, group)


class _Desk:
    """Until when each rank is taken, in seconds from now, as starts are made."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._taken = dict.fromkeys(group.ranks, 0.0)
        self._shared: set[int] = set()
        """Ranks that compute a prompt together with others."""
        self._yielding: dict[int, Underway] = {}
        """By rank, what it is at that may yield."""
        # Not where one goes before another already, nor in a line, whose last would be delayed by all.
        at = [rank for prompt in group.underway for rank in prompt.ranks]
        for prompt in group.underway:
            alone = (rank for rank in prompt.ranks if rank in self._taken and at.count(rank) == 1)
            self._yielding |= dict.fromkeys(() if prompt.before else alone, prompt)
        for prompt in group.underway:
            until = prompt.seconds_left
            # What one rank computes alone stands in line there.
            self._take(prompt.ranks, until + self._taken.get(prompt.ranks[0], 0.0) if len(prompt.ranks) == 1 else until)

    @property
    def open(self) -> bool:
        """Whether anything can begin now."""
        return any(self._begin(rank, 1) == 0 or rank in self._yielding for rank in self._taken)

    def earliest(self, count: int) -> tuple[tuple[int, ...], float]:
        """The ranks that are free first, and when all of them are; 0 is now."""
        first = sorted(self._taken, key=lambda rank: (self._begin(rank, count), self._taken[rank], rank))[:count]
        return tuple(sorted(first)), max(self._begin(rank, count) for rank in first)

    def beside(self, prompt: Waiting, count: int, held: frozenset[int], until: float) -> tuple[int, ...] | None:
        """Ranks that can begin now and are not held, or held ones if it ends before they are needed."""
        free = [rank for rank in self._taken if self._begin(rank, count) == 0]
        free.sort(key=lambda rank: (rank in held, self._taken[rank], rank))
        ranks = tuple(sorted(free[:count]))
        if len(ranks) < count:
            return None
        late = self.end(prompt, ranks, 0.0) > until
        return None if late and not held.isdisjoint(ranks) else ranks

    def end(self, prompt: Waiting, ranks: tuple[int, ...], begin: float) -> float:
        in_line = max(self._taken[rank] for rank in ranks) if begin == 0 else begin
        return in_line + self._group.seconds(prompt.tokens, len(ranks))

    def ahead(
        self, prompt: Waiting, counts: Sequence[int], held: frozenset[int], until: float
    ) -> tuple[int, ...] | None:
        """Ranks on which it can go before much longer prompts, of those numbers the ones that it ends first on.

        Free ranks that are held for another one stay so; None when it does not end before `until`.
        """
        found: list[tuple[float, tuple[int, ...]]] = []
        free = [rank for rank in self._taken if self._taken[rank] == 0 and rank not in held]
        usable = [*free, *self._yielding]
        for count in counts:
            seconds = self._group.seconds(prompt.tokens, count)
            ranks = [rank for rank in usable if self._stands_aside(rank, seconds)]
            ranks.sort(key=lambda rank: (rank in self._yielding, rank))
            if len(ranks) >= count > len(free) and seconds < until:
                found.append((seconds, tuple(sorted(ranks[:count]))))
        return min(found)[1] if found else None

    def start(self, prompt: Waiting, ranks: tuple[int, ...], before: bool = False) -> Start:
        self._take(ranks, self.end(prompt, ranks, 0.0))
        for rank in ranks:
            self._yielding.pop(rank, None)
        return Start(prompt.request_id, ranks, before)

    def _stands_aside(self, rank: int, seconds: float) -> bool:
        long = self._yielding.get(rank)
        return long is None or (seconds <= long.yields and MUCH_LONGER * seconds <= long.seconds_left)

    def _begin(self, rank: int, count: int) -> float:
        """When it can begin one of `count` ranks: now also in a short line of prompts that it computes alone."""
        taken = self._taken[rank]
        in_line = count == 1 and rank not in self._shared and taken <= self._group.line_seconds
        return 0.0 if in_line else taken

    def _take(self, ranks: Iterable[int], until: float) -> None:
        taken = tuple(ranks)
        for rank in taken:
            if rank in self._taken:
                self._taken[rank] = max(until, self._taken[rank])
        if len(taken) > 1:
            self._shared.update(taken)


def _joined(starts: Sequence[Start], turns: Sequence[Waiting], group: Group) -> list[Start]:
    """The starts, and whoever is computed in one pass with one that begins alone on a rank: the next in turn that
    do not begin themselves, or stand in line behind it."""
    tokens = {prompt.request_id: prompt.tokens for prompt in turns if prompt.joins and prompt.degree <= 1}
    begun = {start.request_id: start for start in starts}
    passes: dict[str, list[Start]] = {start.request_id: [start] for start in starts}
    for first in starts:
        if len(first.ranks) > 1 or first.request_id not in tokens or first.request_id not in passes:
            continue
        room = group.pass_tokens - tokens[first.request_id]
        for prompt in turns:
            name, own = prompt.request_id, begun.get(prompt.request_id)
            if name == first.request_id or prompt.tokens > room or name not in tokens:
                continue
            behind = own is not None and (own.ranks, own.before) == (first.ranks, first.before)
            if behind and len(passes.get(name, ())) == 1:
                del passes[name]
            elif own is not None:
                continue
            begun[name] = Start(name, first.ranks, first.before, first.request_id)
            passes[first.request_id].append(begun[name])
            room -= prompt.tokens
    return [start for together in passes.values() for start in together]


def _turn(prompt: Waiting, group: Group) -> tuple[tuple[int, float], str]:
    fastest = min(group.seconds(prompt.tokens, count) for count in _counts(prompt, group))
    return turn(prompt.since, fastest, prompt.objective), prompt.request_id


def _counts(prompt: Waiting, group: Group) -> list[int]:
    """Numbers of ranks that may compute it, rising; more than are wanted only if it does not fit so many."""
    every = len(group.ranks)
    wanted = min(prompt.degree or every, every)
    fitting = [count for count in range(1, every + 1) if count == every or group.fits(prompt.tokens, count)]
    return [count for count in fitting if count <= wanted] or fitting[:1]


def _wanted(prompt: Waiting, desk: _Desk, group: Group) -> list[int]:
    """Numbers of ranks for a degree that is wanted: that one when so many are free, else fewer as well."""
    counts = _counts(prompt, group) if prompt.degree > 0 else []
    return counts[-1:] if counts and desk.earliest(counts[-1])[1] == 0 else counts


def _worthwhile(prompt: Waiting, group: Group, alone: bool) -> list[int]:
    """Numbers of ranks that pay, rising from 1."""
    least, one = MIN_EFFICIENCY if alone else BUSY_EFFICIENCY, group.seconds(prompt.tokens, 1)
    counts = _counts(prompt, group)
    return [n for n in counts if n == counts[0] or one >= least * n * group.seconds(prompt.tokens, n)]
