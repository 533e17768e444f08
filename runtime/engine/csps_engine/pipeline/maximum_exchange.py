"""One maximum a head and request, over all ranks that hold pages of the request: what one all-to-all a layer tells.

Every holder of a request sends its own maximum to every other. Of m holders and H heads that are m (m - 1) H 4 bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from csps_engine.comm.mesh import Mesh


class MaximumExchange:
    """The same for every layer of a step. Collective if any request has two holders, else nothing is sent."""

    def __init__(self, mesh: Mesh, order: Sequence[int], holders: Sequence[frozenset[int]]) -> None:
        """`order`: requests as this rank lists its own; `holders` of every request, the same on every rank."""
        place = {request: n for n, request in enumerate(order)}
        shared = [
            [place[i] for i, held in enumerate(holders) if peer != mesh.rank and {peer, mesh.rank} <= held]
            for peer in range(mesh.size)
        ]
        self._mesh = mesh
        self._talks = any(len(held) > 1 for held in holders)
        self._splits = [len(rows) for rows in shared]
        rows = [n for part in shared for n in part]
        self._rows = torch.tensor(rows, dtype=torch.long, device=mesh.device)

    def widest(self, own: Tensor) -> Tensor:
        """Of own maxima [n, H] fp32, n in own order, the largest of all holders."""
        if not self._talks:
            return own
        leaving = own.index_select(0, self._rows)
        arriving = torch.empty_like(leaving)
        self._mesh.all_to_all_single(arriving, leaving, self._splits, self._splits).wait()
        return own.scatter_reduce(0, self._rows.unsqueeze(1).expand_as(arriving), arriving, "amax")
