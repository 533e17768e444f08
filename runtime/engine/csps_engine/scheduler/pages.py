"""Page slots of one rank: which are free, handed out as consecutive runs where that is possible.

Free slots are kept as a sorted list of disjoint runs that never touch. `take(n)` uses the smallest run that
holds n; failing that, the largest runs one after another. Consecutive slots let attention read a request's KV
as few large views instead of many pages.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable


class PageAllocator:
    """Slots 0 … total-1. Invariant: free slots and handed out slots partition them."""

    def __init__(self, total: int) -> None:
        if total < 0:
            raise ValueError(f"a rank has 0 or more pages, not {total}")
        self.total = total
        self._runs: list[tuple[int, int]] = [(0, total)] if total else []  # (start, end), end excluded
        self._free = total

    @property
    def free(self) -> int:
        return self._free

    def take(self, count: int) -> list[int]:
        """Hand out `count` slots; the caller checks `free` first (ValueError otherwise)."""
        if count > self._free:
            raise ValueError(f"{count} pages asked, {self._free} free")
        slots: list[int] = []
        while len(slots) < count:
            want = count - len(slots)
            fitting = [run for run in self._runs if run[1] - run[0] >= want]
            best = min(fitting, key=_length) if fitting else max(self._runs, key=_length)
            end = min(best[1], best[0] + want)
            slots.extend(range(best[0], end))
            self._runs.remove(best)
            if end < best[1]:
                insort(self._runs, (end, best[1]))
        self._free -= count
        return slots

    def claim(self, slots: Iterable[int]) -> None:
        """Hand out exactly these slots; one that is not free is a bug: ValueError."""
        free = self.free_slots()
        for slot in slots:
            if slot not in free:
                raise ValueError(f"slot {slot} is not free")
            free.remove(slot)
        self._runs, self._free = [], 0
        for start, end in _runs_of(sorted(free)):
            self._runs.append((start, end))
            self._free += end - start

    def release(self, slots: Iterable[int]) -> None:
        """Take slots back. A slot that is free already or out of range is a bug: ValueError."""
        for slot in slots:
            self._release_one(slot)

    def free_slots(self) -> set[int]:
        return {slot for start, end in self._runs for slot in range(start, end)}

    def _release_one(self, slot: int) -> None:
        at = bisect_left(self._runs, (slot + 1, 0))
        before = self._runs[at - 1] if at else None
        after = self._runs[at] if at < len(self._runs) else None
        if not 0 <= slot < self.total or (before is not None and slot < before[1]):
            raise ValueError(f"slot {slot} is not handed out")
        start, end = slot, slot + 1
        if after is not None and after[0] == end:
            end = after[1]
            del self._runs[at]
        if before is not None and before[1] == start:
            start = before[0]
            del self._runs[at - 1]
        insort(self._runs, (start, end))
        self._free += 1


def _runs_of(slots: list[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for slot in slots:
        if runs and runs[-1][1] == slot:
            runs[-1] = (runs[-1][0], slot + 1)
        else:
            runs.append((slot, slot + 1))
    return runs


def _length(run: tuple[int, int]) -> int:
    return run[1] - run[0]
