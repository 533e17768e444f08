"""Small numbers of every rank, known to every rank."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from csps_engine.comm.mesh import Mesh


def gather_numbers(mesh: Mesh, numbers: Sequence[int]) -> list[list[int]]:
    """The numbers of every rank, by rank; collective, and as many on each."""
    mine = torch.tensor(list(numbers), dtype=torch.int64, device=mesh.device)
    every = torch.empty((mesh.size, len(numbers)), dtype=torch.int64, device=mesh.device)
    mesh.all_gather_into(every, mine).wait()
    return [[int(number) for number in row] for row in every.tolist()]
