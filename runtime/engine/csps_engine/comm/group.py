"""A mesh over process groups that belong to one epoch only.

There is no global default group: each epoch's groups rendezvous under the epoch's own store and die with it, so
that a rank may leave one epoch and join the next without restarting. Control bytes travel over gloo; tensors
over gloo on CPUs and NCCL on GPUs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from csps_engine.comm.direct_gloo import DirectGloo
from csps_engine.comm.local import LocalMesh
from csps_engine.comm.mesh import Mesh, MeshBroken

FRAME_BYTES = 4096
"""Size of the first message of a broadcast; what does not fit follows in a second one."""
LENGTH_BYTES = 8


def form_mesh(store: dist.Store, rank: int, size: int, timeout: timedelta, device: torch.device | str = "cpu") -> Mesh:
    """Meet the other ranks at `store`, which no other epoch may use. Raises MeshBroken if they do not come in time.

    `timeout` also bounds every later collective.
    """
    target = torch.device(device)
    return LocalMesh(target) if size == 1 else GroupMesh(store, rank, size, timeout, target)


class _Work:
    def __init__(self, work: Any, ended: Callable[[RuntimeError | None], None]) -> None:
        self._work = work
        self._ended = ended

    def wait(self) -> None:
        failure = None
        try:
            self._work.wait()
        except RuntimeError as error:
            failure = error
        self._ended(failure)


class GroupMesh:
    """One rank of an epoch of two or more. Not for use by several threads, except abort()."""

    def __init__(self, store: dist.Store, rank: int, size: int, timeout: timedelta, device: torch.device) -> None:
        self.rank = rank
        self.size = size
        self.device = device
        self.sent_bytes = 0
        self._aborted = threading.Event()
        self._under_way = 0
        try:
            self._control: Any = dist.ProcessGroupGloo(dist.PrefixStore("control", store), rank, size, timeout)
            self._groups = [self._control]
            self._data: Any = DirectGloo(self._control, rank, size)
            if device.type == "cuda":
                options = dist.ProcessGroupNCCL.Options()
                options._timeout = timeout
                self._data = dist.ProcessGroupNCCL(dist.PrefixStore("data", store), rank, size, options)
                self._groups.append(self._data)
        except RuntimeError as error:
            raise self._broken(error) from error

    def broadcast_bytes(self, payload: bytes | None, src: int) -> bytes:
        if (payload is not None) != (src == self.rank):
            raise ValueError("exactly the source of a broadcast gives its payload")
        frame = torch.zeros(FRAME_BYTES, dtype=torch.uint8)
        whole = b"" if payload is None else len(payload).to_bytes(LENGTH_BYTES, "big") + payload
        _fill(frame, whole[:FRAME_BYTES])
        self._broadcast(frame, src)
        length = int.from_bytes(_bytes(frame[:LENGTH_BYTES]), "big")
        head = _bytes(frame[LENGTH_BYTES : LENGTH_BYTES + length])
        if len(head) == length:
            return head
        rest = torch.empty(length - len(head), dtype=torch.uint8)
        _fill(rest, whole[FRAME_BYTES:])
        self._broadcast(rest, src)
        return head + _bytes(rest)

    def all_to_all_single(self, out: Tensor, inp: Tensor, out_splits: Sequence[int], in_splits: Sequence[int]) -> _Work:
        rows = sum(in_splits) - in_splits[self.rank]
        self.sent_bytes += rows * inp[:1].numel() * inp.element_size()
        return self._start(lambda: self._data.alltoall_base(out, inp, list(out_splits), list(in_splits)))

    def all_gather_into(self, out: Tensor, inp: Tensor) -> _Work:
        self.sent_bytes += (self.size - 1) * inp.numel() * inp.element_size()
        # Both flat: the group concatenates along the first dimension.
        return self._start(lambda: self._data._allgather_base(out.view(-1), inp.view(-1)))

    def barrier(self) -> None:
        self._start(lambda: self._control.barrier()).wait()

    def abort(self) -> None:
        self._aborted.set()
        if hasattr(self._control, "abort"):
            for group in self._groups:
                group.abort()
        elif self._under_way == 0:
            self._leave()

    def _leave(self) -> None:
        # For releases of torch whose gloo groups cannot be aborted. Dropping one closes its connections, which
        # wakes the peers; but while a collective is under way that would block all of Python until it ends.
        self._control = self._data = None
        self._groups.clear()

    def _broadcast(self, tensor: Tensor, src: int) -> None:
        options = dist.BroadcastOptions()
        options.rootRank = src
        options.rootTensor = 0
        self._start(lambda: self._control.broadcast([tensor], options)).wait()

    def _start(self, issue: Callable[[], Any]) -> _Work:
        # Count, then look: abort() sets the flag, then reads the count, so one of the two sees the other.
        self._under_way += 1
        if self._aborted.is_set():
            self._under_way -= 1
            raise MeshBroken("the mesh was aborted")
        try:
            return _Work(issue(), self._ended)
        except RuntimeError as error:
            self._under_way -= 1
            raise self._broken(error) from error

    def _ended(self, failure: RuntimeError | None) -> None:
        self._under_way -= 1
        if self._aborted.is_set() and self._under_way == 0 and not hasattr(self._control, "abort"):
            self._leave()
        if failure is not None:
            raise self._broken(failure) from failure

    def _broken(self, error: RuntimeError) -> MeshBroken:
        return MeshBroken(f"rank {self.rank} of {self.size}: {error}")


def _fill(target: Tensor, payload: bytes) -> None:
    if payload:
        target[: len(payload)] = torch.frombuffer(bytearray(payload), dtype=torch.uint8)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.numpy().tobytes()
