"""What the tensor-parallel ranks of one model exchange: sums of partial products.

Each rank adds up in rank order, so that all hold the same bits and draw the same token. A sum of many tokens is a
reduce-scatter by all-to-all followed by an all-gather, 2(1 - 1/T) n d elements a rank, as a ring would send; few
tokens are gathered in one round, since their time is latency.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from csps_engine.comm.mesh import Mesh

ONE_ROUND_BYTES = 64 * 1024
"""Up to this size a rank's whole part goes to everyone."""


class TensorGroup(Protocol):
    """Ranks that hold the shards of one model."""

    def sum(self, part: Tensor) -> Tensor:
        """The sum over ranks of `part` [n, d], the same on every rank. Collective."""
        ...


class MeshTensorGroup:
    """Tensor ranks that meet over a mesh of their own."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    def sum(self, part: Tensor) -> Tensor:
        ranks, tokens = self._mesh.size, part.shape[0]
        if tokens == 0:
            return part
        if tokens < ranks or part.nbytes <= ONE_ROUND_BYTES:
            every = part.new_empty(ranks, *part.shape)
            self._mesh.all_gather_into(every, part.contiguous()).wait()
            return _in_order(every)
        own = -(-tokens // ranks)
        padded = torch.nn.functional.pad(part, (0, 0, 0, own * ranks - tokens))
        arrived = torch.empty_like(padded)
        self._mesh.all_to_all_single(arrived, padded, [own] * ranks, [own] * ranks).wait()
        summed = part.new_empty(ranks, own, part.shape[1])
        self._mesh.all_gather_into(summed, _in_order(arrived.view_as(summed))).wait()
        return summed.flatten(0, 1)[:tokens]


class EpochTensorGroup:
    """The tensor ranks of a process that outlives their meshes: each epoch brings a new one."""

    def __init__(self) -> None:
        self._group: MeshTensorGroup | None = None

    def meet(self, mesh: Mesh) -> None:
        """Sum over this mesh from now on."""
        self._group = MeshTensorGroup(mesh)

    def sum(self, part: Tensor) -> Tensor:
        """See TensorGroup."""
        assert self._group is not None
        return self._group.sum(part)


def _in_order(parts: Tensor) -> Tensor:
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    return total
