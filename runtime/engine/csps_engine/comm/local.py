"""The mesh of a single rank: every exchange is a copy to itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from csps_engine.comm.mesh import MeshBroken


class Done:
    """A collective that has already ended."""

    def wait(self) -> None:
        """Return at once."""


class LocalMesh:
    """Rank 0 of 1."""

    rank = 0
    size = 1
    sent_bytes = 0

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self._aborted = False

    def broadcast_bytes(self, payload: bytes | None, src: int) -> bytes:
        self._check()
        if payload is None or src != 0:
            raise ValueError("the only rank is the source of its own broadcast")
        return payload

    def all_to_all_single(self, out: Tensor, inp: Tensor, out_splits: Sequence[int], in_splits: Sequence[int]) -> Done:
        self._check()
        out.copy_(inp)
        return Done()

    def all_gather_into(self, out: Tensor, inp: Tensor) -> Done:
        self._check()
        out[0].copy_(inp)
        return Done()

    def barrier(self) -> None:
        self._check()

    def abort(self) -> None:
        self._aborted = True

    def _check(self) -> None:
        if self._aborted:
            raise MeshBroken("the mesh was aborted")
