"""Memory that a network library may write to or read from: equal slots, lent one by one."""

from __future__ import annotations

import threading

import torch


class Staging:
    """`slots` slots of `slot_bytes` bytes each. Any thread."""

    def __init__(self, slots: int, slot_bytes: int) -> None:
        self.slot_bytes = slot_bytes
        self.memory = torch.zeros(slots * slot_bytes, dtype=torch.uint8)
        self._view = memoryview(self.memory.numpy())
        self._free = list(range(slots))
        self._lock = threading.Lock()

    def lend(self, wanted: int) -> list[int]:
        """Up to so many slots, fewer when fewer are free."""
        with self._lock:
            lent, self._free = self._free[:wanted], self._free[wanted:]
            return lent

    def take_back(self, slots: list[int]) -> None:
        with self._lock:
            self._free += slots

    def address(self, slot: int) -> int:
        return int(self.memory.data_ptr()) + slot * self.slot_bytes

    def write(self, slot: int, payload: memoryview) -> None:
        start = slot * self.slot_bytes
        self._view[start : start + len(payload)] = payload

    def read(self, slot: int, size: int) -> memoryview:
        start = slot * self.slot_bytes
        return self._view[start : start + size]
