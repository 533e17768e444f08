"""The mesh of a rank that is several processes, as one of these processes sees it.

Process t of rank r meets process t of every other rank for what ranks exchange (each has its own heads of the KV),
and the other processes of rank r for what they compute together. Words of a coordinator arrive at process 0 of each
rank, which passes them on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from csps_engine.comm.mesh import Mesh, Pending

if TYPE_CHECKING:
    from torch import Tensor, device


class DividedMesh:
    """Ranks as `across` numbers them; `within` joins the processes of this one."""

    def __init__(self, across: Mesh, within: Mesh) -> None:
        self.across = across
        self.within = within

    @property
    def rank(self) -> int:
        return self.across.rank

    @property
    def size(self) -> int:
        return self.across.size

    @property
    def device(self) -> device:
        return self.across.device

    @property
    def sent_bytes(self) -> int:
        """Of this process, to other ranks."""
        return self.across.sent_bytes

    def broadcast_bytes(self, payload: bytes | None, src: int) -> bytes:
        """The payload is given by process 0 of rank `src`."""
        if self.within.rank > 0:
            return self.within.broadcast_bytes(None, 0)
        return self.within.broadcast_bytes(self.across.broadcast_bytes(payload, src), 0)

    def all_to_all_single(
        self, out: Tensor, inp: Tensor, out_splits: Sequence[int], in_splits: Sequence[int]
    ) -> Pending:
        return self.across.all_to_all_single(out, inp, out_splits, in_splits)

    def all_gather_into(self, out: Tensor, inp: Tensor) -> Pending:
        return self.across.all_gather_into(out, inp)

    def barrier(self) -> None:
        """Every process of every rank has come here when it returns in process 0."""
        self.within.barrier()
        self.across.barrier()

    def abort(self) -> None:
        self.across.abort()
        self.within.abort()
