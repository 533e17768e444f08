"""Recordings of work on the device that are done again with one call: CUDA graphs.

A recording reads and writes the tensors that it was made with, so callers keep one set of them for each size and pad
to it. Sizes are few: each is recorded by itself.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

Outputs = tuple[Tensor, ...]

WARM_UPS = 2
"""Runs before a recording, in which libraries choose their algorithms and take their workspace."""


class Recording(NamedTuple):
    """Work on fixed tensors."""

    replay: Callable[[], None]
    outputs: Outputs
    """Where each replay leaves its results."""


class Recorder(Protocol):
    """Turns work on fixed tensors into something that does it again."""

    def record(self, work: Callable[[], Outputs]) -> Recording:
        """`work` may run several times here, also such that it changes its inputs."""
        ...


class CudaRecorder:
    """CUDA graphs that share one pool of memory; one for a device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, work: Callable[[], Outputs]) -> Recording:
        present, aside = torch.cuda.current_stream(self._device), torch.cuda.Stream(self._device)
        aside.wait_stream(present)
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                work()
        present.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Other threads receive KV meanwhile: what they ask of the device is no fault of this recording.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            outputs = work()
        return Recording(graph.replay, outputs)


def bucket_sizes(largest: int) -> tuple[int, ...]:
    """Sizes to record, rising: 1, 2, 4, then multiples of 8, 16 and 32 as they grow, and the largest itself."""
    sizes, size = [], 1
    while size < largest:
        sizes.append(size)
        size += size if size < 8 else 8 if size < 32 else 16 if size < 128 else 32
    return (*sizes, largest)


def bucket_for(rows: int, sizes: Sequence[int]) -> int | None:
    """The least of rising sizes that holds so many rows; None where none does, or where there are no rows."""
    at = bisect.bisect_left(sizes, rows)
    return sizes[at] if rows > 0 and at < len(sizes) else None
