"""A mesh that tells how long its rank waited for others, and one that lets nothing overlap."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from csps_engine.comm.mesh import Mesh, Pending


class _Waited:
    def __init__(self, pending: Pending, mesh: TimedMesh) -> None:
        self._pending = pending
        self._mesh = mesh

    def wait(self) -> None:
        began = time.perf_counter()
        self._pending.wait()
        self._mesh.waited_seconds += time.perf_counter() - began


class TimedMesh:
    """Another mesh, whose waits are timed. `blocking`: every collective of tensors is waited for at once."""

    def __init__(self, mesh: Mesh, blocking: bool = False) -> None:
        self._mesh = mesh
        self._blocking = blocking
        self.waited_seconds = 0.0

    @property
    def rank(self) -> int:
        return self._mesh.rank

    @property
    def size(self) -> int:
        return self._mesh.size

    @property
    def device(self) -> torch.device:
        return self._mesh.device

    @property
    def sent_bytes(self) -> int:
        return self._mesh.sent_bytes

    def broadcast_bytes(self, payload: bytes | None, src: int) -> bytes:
        return self._mesh.broadcast_bytes(payload, src)

    def all_to_all_single(
        self, out: Tensor, inp: Tensor, out_splits: Sequence[int], in_splits: Sequence[int]
    ) -> Pending:
        return self._timed(self._mesh.all_to_all_single(out, inp, out_splits, in_splits))

    def all_gather_into(self, out: Tensor, inp: Tensor) -> Pending:
        return self._timed(self._mesh.all_gather_into(out, inp))

    def barrier(self) -> None:
        self._mesh.barrier()

    def abort(self) -> None:
        self._mesh.abort()

    def _timed(self, pending: Pending) -> Pending:
        timed = _Waited(pending, self)
        if not self._blocking:
            return timed
        timed.wait()
        return _Over()


class _Over:
    def wait(self) -> None:
        """It was waited for when it began."""
