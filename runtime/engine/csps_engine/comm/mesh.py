"""The mesh: how the ranks of one epoch exchange bytes and tensors.

Every call is collective: all ranks make the same calls in the same order, from one thread each. A call that
fails (a peer died, the timeout passed) raises MeshBroken; the mesh is then useless and a new epoch must form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor, device


class MeshBroken(RuntimeError):
    """A peer is gone or silent. Nothing can be sent over this mesh any more."""


class Pending(Protocol):
    """A collective under way. Its buffers must not be touched before wait() returns."""

    def wait(self) -> None: ...


class Mesh(Protocol):
    """Members of one epoch, numbered 0 … size-1."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def device(self) -> device:
        """Where tensors handed to the mesh live."""
        ...

    @property
    def sent_bytes(self) -> int:
        """Tensor payload this rank sent to other ranks so far (control bytes not counted)."""
        ...

    def broadcast_bytes(self, payload: bytes | None, src: int) -> bytes:
        """Give `payload` of rank `src` to all; the others pass None."""
        ...

    def all_to_all_single(
        self, out: Tensor, inp: Tensor, out_splits: Sequence[int], in_splits: Sequence[int]
    ) -> Pending:
        """Send in_splits[r] rows (dim 0) of `inp` to rank r; rank r's rows arrive at their place in `out`."""
        ...

    def all_gather_into(self, out: Tensor, inp: Tensor) -> Pending:
        """Gather equal-shaped `inp` of all ranks into `out` [size, *inp.shape], by rank."""
        ...

    def barrier(self) -> None: ...

    def abort(self) -> None:
        """Break the mesh from any thread; also due after MeshBroken, since it tells the peers.

        Later calls raise at once, waiting calls (here and on peers) soon; on releases of torch whose gloo groups
        cannot be aborted, a call that waits here raises at its timeout.
        """
        ...
