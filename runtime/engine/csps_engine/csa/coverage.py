"""What sparse attention covered and moved, over the layers and ranks of one prompt."""

from __future__ import annotations

import torch
from torch import Tensor

from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import SparseReport

_BINS = 1000


class Coverage:
    """Counts one rank's layers; `report` joins the ranks."""

    def __init__(self, levels: int) -> None:
        self._mass = torch.zeros(_BINS + 1, dtype=torch.float64)
        self._sum = 0.0
        self.layers = 0
        self.fetched_bytes = 0
        self.available_bytes = 0
        self.fetched_rows = 0
        self.available_rows = 0
        self.cut_blocks = 0
        self.level_bytes = [0] * levels

    def audit(self, held: Tensor, exact: Tensor) -> None:
        """Log-sum-exp held by the sparse path, and exact: the share held of each query and head."""
        share = torch.exp(held.double() - exact.double()).clamp(0, 1).flatten().cpu()
        self._sum += float(share.sum())
        self._mass += torch.bincount((share * _BINS).long(), minlength=_BINS + 1)

    @property
    def mean(self) -> float:
        """Mean share of this rank's audited queries so far; 1 before the first."""
        count = float(self._mass.sum())
        return self._sum / count if count else 1.0

    def report(self, mesh: Mesh) -> SparseReport:
        """Collective. Byte counts are this rank's own, shares those of all ranks."""
        mine = torch.cat([self._mass, torch.tensor([self._sum], dtype=torch.float64)]).to(mesh.device)
        every = torch.empty((mesh.size, mine.shape[0]), dtype=mine.dtype, device=mesh.device)
        mesh.all_gather_into(every, mine).wait()
        total = every.sum(0).cpu()
        bins, count = total[:-1], float(total[:-1].sum())
        below = bins.cumsum(0)
        return SparseReport(
            layers=self.layers,
            fetched_bytes=self.fetched_bytes,
            available_bytes=self.available_bytes,
            fetched_rows=self.fetched_rows,
            available_rows=self.available_rows,
            level_bytes=tuple(self.level_bytes),
            cut_blocks=self.cut_blocks,
            audited=int(count),
            mass_mean=float(total[-1]) / count if count else 1.0,
            mass_p01=float((below <= 0.01 * count).sum()) / _BINS if count else 1.0,
        )
