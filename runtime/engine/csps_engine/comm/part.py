"""A part of a mesh: some of its ranks, which exchange among themselves while the others do something else.

Nothing is set up for it: its collectives are the whole mesh's, with nothing for ranks outside. The whole mesh carries
them as messages between pairs, so ranks outside need not call; disjoint parts do not see each other. A part of
one rank exchanges nothing, yet raises when the mesh is broken.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from csps_engine.comm.divided import DividedMesh
from csps_engine.comm.mesh import Mesh, Pending


class PartMesh:
    """`members` are mesh ranks in rising order, this rank among them; they are numbered by their place in it."""

    def __init__(self, whole: Mesh, members: Sequence[int]) -> None:
        if list(members) != sorted(set(members)) or whole.rank not in members:
            raise ValueError(f"{list(members)} are no part of a mesh that rank {whole.rank} is in")
        self._whole = whole
        self._members = tuple(members)
        self.rank = self._members.index(whole.rank)
        self.size = len(self._members)

    @property
    def device(self) -> torch.device:
        return self._whole.device

    @property
    def sent_bytes(self) -> int:
        """Of this rank in all its parts and the whole mesh."""
        return self._whole.sent_bytes

    def all_to_all_single(
        self, out: Tensor, inp: Tensor, out_splits: Sequence[int], in_splits: Sequence[int]
    ) -> Pending:
        return self._whole.all_to_all_single(out, inp, self._spread(out_splits), self._spread(in_splits))

    def all_gather_into(self, out: Tensor, inp: Tensor) -> Pending:
        ones = [1] * self.size
        copies = inp.reshape(1, -1).repeat(self.size, 1)
        return self.all_to_all_single(out.view(self.size, -1), copies, ones, ones)

    def broadcast_bytes(self, payload: bytes | None, src: int) -> bytes:
        if (payload is not None) != (src == self.rank):
            raise ValueError("exactly the source of a broadcast gives its payload")
        mine = payload or b""
        length = torch.tensor([len(mine)], dtype=torch.int64, device=self.device)
        lengths = torch.empty((self.size, 1), dtype=torch.int64, device=self.device)
        self.all_gather_into(lengths, length).wait()
        size = int(lengths[src])
        sent = torch.tensor(list(mine * self.size), dtype=torch.uint8)
        out = torch.empty(size, dtype=torch.uint8, device=self.device)
        takes = [size if rank == src else 0 for rank in range(self.size)]
        gives = [len(mine)] * self.size
        self.all_to_all_single(out, sent.to(self.device), takes, gives).wait()
        return bytes(out.cpu().numpy().tobytes())

    def barrier(self) -> None:
        token = torch.zeros(1, dtype=torch.int64, device=self.device)
        self.all_gather_into(torch.empty((self.size, 1), dtype=torch.int64, device=self.device), token).wait()

    def abort(self) -> None:
        """Breaks the whole mesh."""
        self._whole.abort()

    def _spread(self, splits: Sequence[int]) -> list[int]:
        """By mesh rank what is given by number in the part."""
        spread = [0] * self._whole.size
        for rank, rows in zip(self._members, splits, strict=True):
            spread[rank] = rows
        return spread


def part_of(whole: Mesh, members: Sequence[int]) -> Mesh:
    """The whole mesh when every rank is a member."""
    if len(members) == whole.size:
        return whole
    if isinstance(whole, DividedMesh):
        return DividedMesh(PartMesh(whole.across, members), whole.within)
    return PartMesh(whole, members)
