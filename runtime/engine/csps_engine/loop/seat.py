"""Which process of its rank a process is, and how it meets the others of an epoch.

A rank of tensor degree T is T processes, each with its shard of the model and of every page. In each epoch process t
joins two meshes, both at the epoch's store: with process t of every other rank, and with the other processes of its
own rank. Both are new in every epoch, so that whoever is left behind in a collective of a broken epoch is freed by it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch.distributed as dist

from csps_engine.comm.divided import DividedMesh
from csps_engine.comm.group import form_mesh
from csps_engine.comm.mesh import Mesh
from csps_engine.loop.epoch_work import Epoch
from csps_engine.model.config import Shard
from csps_engine.model.tensor_group import EpochTensorGroup


class Seat:
    """Process `tensor_rank` of the `tensor_degree` that one rank is."""

    def __init__(self, tensor_rank: int = 0, tensor_degree: int = 1) -> None:
        self.tensor_rank = tensor_rank
        self.tensor_degree = tensor_degree
        self._group = EpochTensorGroup()

    @property
    def shard(self) -> Shard:
        """What it holds of the model."""
        return Shard(self.tensor_rank, self.tensor_degree)

    @property
    def tensor_group(self) -> EpochTensorGroup | None:
        """With whom it computes; None: alone."""
        return self._group if self.tensor_degree > 1 else None

    def assigned(self, epoch: Epoch) -> None:
        """Process 0 was told to join an epoch; whoever leads other processes tells them. Any thread."""

    def meet(self, store: Any, epoch: Epoch, timeout: timedelta, device: str) -> Mesh:
        """The mesh of an epoch that meets at `store`; raises MeshBroken. Collective over all processes of all ranks."""
        ranks = len(epoch.members)
        if self.tensor_degree == 1:
            return form_mesh(store, epoch.rank, ranks, timeout, device)
        across = form_mesh(
            dist.PrefixStore(f"tensor rank {self.tensor_rank}", store), epoch.rank, ranks, timeout, device
        )
        try:
            own = dist.PrefixStore(f"rank {epoch.rank}", store)
            within = form_mesh(own, self.tensor_rank, self.tensor_degree, timeout, device)
        except BaseException:
            across.abort()
            raise
        self._group.meet(within)
        return DividedMesh(across, within)
