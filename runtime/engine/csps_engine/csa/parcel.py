"""Tensors of several kinds for several ranks in one exchange.

What goes to one rank is laid end to end as bytes; both sides know the shapes, so nothing describes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from csps_engine.comm.mesh import Mesh, Pending


class Form(NamedTuple):
    """Shape and kind of a tensor that will arrive."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class Arriving:
    """Tensors under way, by sender."""

    def __init__(self, pending: Pending, sent: Tensor, buffer: Tensor, forms: Sequence[Sequence[Form]]) -> None:
        self._pending = pending
        self._sent = sent  # must live until the exchange ended
        self._buffer = buffer
        self._forms = forms

    def wait(self) -> list[list[Tensor]]:
        """What came, by sender, in the senders' order."""
        self._pending.wait()
        at, arrived = 0, []
        for forms in self._forms:
            mine = []
            for form in forms:
                part = self._buffer[at : at + form.bytes()]
                if part.storage_offset() % form.dtype.itemsize:
                    part = part.clone()
                mine.append(part.view(form.dtype).view(form.shape))
                at += form.bytes()
            arrived.append(mine)
        return arrived


def exchange(mesh: Mesh, outgoing: Sequence[Sequence[Tensor]], incoming: Sequence[Sequence[Form]]) -> Arriving:
    """Send outgoing[r] to each rank r, and expect incoming[r] of it. Collective."""
    flat = [[tensor.contiguous().view(-1).view(torch.uint8) for tensor in parts] for parts in outgoing]
    sizes = [sum(part.numel() for part in parts) for parts in flat]
    every = [part for parts in flat for part in parts]
    sent = torch.cat(every) if every else torch.empty(0, dtype=torch.uint8, device=mesh.device)
    splits = [sum(form.bytes() for form in forms) for forms in incoming]
    buffer = torch.empty(sum(splits), dtype=torch.uint8, device=mesh.device)
    return Arriving(mesh.all_to_all_single(buffer, sent, splits, sizes), sent, buffer, incoming)
