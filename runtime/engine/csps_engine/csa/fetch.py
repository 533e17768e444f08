"""How chosen keys and values travel: the choice as bits, then the rows it names.

Rows of one KV head go in order of position, so blocks that are neighbours are one run of memory on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from csps_engine.comm.mesh import Mesh
from csps_engine.csa.packing import Packing, row_bytes
from csps_engine.csa.parcel import Arriving, Form, exchange

_BITS = 8


class Keys(NamedTuple):
    """Keys and values [S, D], of one KV head or of several one after another."""

    k: Tensor
    v: Tensor


def bits_bytes(blocks: int) -> int:
    """Bytes of one KV head's choice among `blocks` blocks."""
    return -(-blocks // _BITS)


def ask(mesh: Mesh, wanted: Sequence[Tensor], own_blocks: int) -> list[Tensor]:
    """Tell each rank r which of its blocks are wanted[r] [K, blocks of r]; hear what they want [K, own_blocks]."""
    rank, heads = mesh.rank, wanted[mesh.rank].shape[0]
    outgoing = [[_pack(mask)] if r != rank else [] for r, mask in enumerate(wanted)]
    form = Form((heads, bits_bytes(own_blocks)), torch.uint8)
    incoming = [[form] if r != rank else [] for r in range(mesh.size)]
    heard = exchange(mesh, outgoing, incoming).wait()
    none = torch.zeros(heads, own_blocks, dtype=torch.bool, device=mesh.device)
    return [_unpack(parts[0], own_blocks) if parts else none for parts in heard]


def token_mask(blocks: Tensor, block_tokens: int, tokens: int) -> Tensor:
    """From blocks [K, C] to tokens [K, n], of which the last block may lack some."""
    return blocks.repeat_interleave(block_tokens, 1)[:, :tokens]


class Rows:
    """Rows on their way here, by sender and KV head."""

    def __init__(self, arriving: Arriving, packing: Packing, take: Sequence[Tensor]) -> None:
        self._arriving = arriving
        self._packing = packing
        self._take = take
        self._counts = _counts(take)
        self.tokens = sum(sum(heads) for heads in self._counts)
        """Rows over all senders and KV heads."""
        self.bytes = self.tokens * row_bytes(packing)

    def whole(self) -> list[Keys | None]:
        """By sender: the rows of its KV heads one after another; None of a sender that sends nothing."""
        return [
            Keys(*self._packing.unpack(source, self._take[source], parts)) if parts else None
            for source, parts in enumerate(self._arriving.wait())
        ]

    def wait(self) -> list[list[Keys]]:
        """By sender, then by KV head; an empty list from a sender that sends nothing."""
        arrived: list[list[Keys]] = []
        for keys, counts in zip(self.whole(), self._counts, strict=True):
            by_head = zip(*(part.split(counts) for part in keys), strict=True) if keys is not None else ()
            arrived.append([Keys(*pair) for pair in by_head])
        return arrived


def fetch(mesh: Mesh, packing: Packing, give: Sequence[Tensor], take: Sequence[Tensor]) -> Rows:
    """Send each rank r the rows give[r] [K, n] of own keys and values; expect the rows take[r] [K, tokens of r].

    Collective. give[r] here equals take[own rank] on rank r.
    """
    outgoing = [[part[mask] for part in packing.rows] if _any(mask) else [] for mask in give]
    incoming = [
        [Form((sum(heads), part.shape[2]), part.dtype) for part in packing.rows] if heads else []
        for heads in _counts(take)
    ]
    return Rows(exchange(mesh, outgoing, incoming), packing, take)


def _counts(take: Sequence[Tensor]) -> list[list[int]]:
    """Rows by sender and KV head; an empty list where none come."""
    return [mask.sum(1).tolist() if _any(mask) else [] for mask in take]


def _any(mask: Tensor) -> bool:
    return mask.numel() > 0 and bool(mask.any())


def _pack(mask: Tensor) -> Tensor:
    padded = F.pad(mask.to(torch.uint8), (0, -mask.shape[1] % _BITS))
    weights = 1 << torch.arange(_BITS, dtype=torch.uint8, device=mask.device)
    return (padded.unflatten(1, (-1, _BITS)) * weights).sum(-1, dtype=torch.uint8)


def _unpack(packed: Tensor, blocks: int) -> Tensor:
    shifts = torch.arange(_BITS, dtype=torch.uint8, device=packed.device)
    return ((packed.unsqueeze(-1) >> shifts) & 1).flatten(1)[:, :blocks].bool()
