"""A weight matrix as the forward pass uses it, whatever form its elements have in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Matrix(Protocol):
    """W [rows, columns]."""

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        ...

    def times(self, x: Tensor) -> Tensor:
        """x W^T [T, rows] of x [T, columns]."""
        ...

    def add_times(self, target: Tensor, x: Tensor) -> None:
        """Add x W^T to target [T, rows], in place."""
        ...

    def lookup(self, numbers: Tensor) -> Tensor:
        """The rows [n, columns] of these numbers [n]."""
        ...


class DenseMatrix:
    """Elements of a floating-point dtype."""

    def __init__(self, elements: Tensor) -> None:
        self._elements = elements

    @property
    def nbytes(self) -> int:
        return self._elements.nbytes

    def times(self, x: Tensor) -> Tensor:
        return F.linear(x, self._elements)

    def add_times(self, target: Tensor, x: Tensor) -> None:
        target.addmm_(x, self._elements.t())

    def lookup(self, numbers: Tensor) -> Tensor:
        return F.embedding(numbers, self._elements)


class StackedMatrix:
    """Matrices of different forms, one below the other."""

    def __init__(self, parts: Sequence[Matrix]) -> None:
        self._parts = parts

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self._parts)

    def times(self, x: Tensor) -> Tensor:
        return torch.cat([part.times(x) for part in self._parts], -1)

    def add_times(self, target: Tensor, x: Tensor) -> None:
        target.add_(self.times(x))

    def lookup(self, numbers: Tensor) -> Tensor:
        raise NotImplementedError("a table of tokens is one tensor")
