"""Small numbers of every rank, known to every rank."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch

from csps_engine.comm.divided import DividedMesh
from csps_engine.comm.mesh import Mesh

Join: TypeAlias = Callable[[list[list[int]]], list[int]]
"""Numbers of a rank's processes, in their order, as numbers of the rank."""


def largest(processes: list[list[int]]) -> list[int]:
    """Each number as the process has it where it is largest."""
    return [max(column) for column in zip(*processes, strict=True)]


def smallest(processes: list[list[int]]) -> list[int]:
    """Each number as the process has it where it is smallest."""
    return [min(column) for column in zip(*processes, strict=True)]


def gather_numbers(mesh: Mesh, numbers: Sequence[int], join: Join = largest) -> list[list[int]]:
    """The numbers of every rank, by rank; collective, and as many on each.

    Where a rank is several processes, `join` makes theirs one row.
    """
    mine = list(numbers)
    if isinstance(mesh, DividedMesh):
        mine = join(_gather(mesh.within, mine))
    return _gather(mesh, mine)


def _gather(mesh: Mesh, numbers: Sequence[int]) -> list[list[int]]:
    mine = torch.tensor(list(numbers), dtype=torch.int64, device=mesh.device)
    every = torch.empty((mesh.size, len(numbers)), dtype=torch.int64, device=mesh.device)
    mesh.all_gather_into(every, mine).wait()
    return [[int(number) for number in row] for row in every.tolist()]
