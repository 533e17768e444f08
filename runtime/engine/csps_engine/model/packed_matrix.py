"""A quantized weight matrix that stays packed; the products are those of packed.c, whose header has the layout.

Few tokens (decode) are multiplied with the packed weights: what bounds them is reading weights from memory. Many
tokens (prefill) are bound by arithmetic, so some rows at a time are expanded for the matrix product of torch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from csps_engine.model.packed_library import packed_library

TILE_ROWS = 16
FEW_TOKENS = 24
"""From here on expanding pays."""
EXPANDED_TILES = 64
"""Tiles expanded at a time, small enough for a core's cache."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Quantized rows: weight = q * scale + minimum, by groups of neighbouring columns."""

    q: Tensor  # [rows, columns] uint8; with 8 bits the bytes of signed numbers
    scale: Tensor  # [rows, columns / group] fp32
    minimum: Tensor | None  # the same; None: zeros
    bits: int
    """4 or 8."""

    @property
    def group(self) -> int:
        return self.q.shape[1] // self.scale.shape[1]

    def expanded(self) -> Tensor:
        """The weights [rows, columns] in fp32."""
        values = (self.q.view(torch.int8) if self.bits == 8 else self.q).float().unflatten(1, (-1, self.group))
        values *= self.scale.unsqueeze(-1)
        if self.minimum is not None:
            values += self.minimum.unsqueeze(-1)
        return values.flatten(1)


class _Weights(ctypes.Structure):
    _fields_ = (
        ("q", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("minimum", ctypes.c_void_p),
        ("tiles", ctypes.c_size_t),
        ("columns", ctypes.c_size_t),
        ("group", ctypes.c_size_t),
    )


class _Product(ctypes.Structure):
    _fields_ = (
        ("x", ctypes.c_void_p),
        ("y", ctypes.c_void_p),
        ("tokens", ctypes.c_size_t),
        ("y_stride", ctypes.c_size_t),
        ("adds", ctypes.c_size_t),
        ("sums", ctypes.c_void_p),
    )


class PackedMatrix:
    """Rows of 4 or 8 bits an element; activations are fp32 on the CPU."""

    def __init__(self, groups: Sequence[Groups]) -> None:
        """`groups` lie one below the other; they agree in columns, bits, group and presence of minima."""
        first = groups[0]
        self._rows = sum(part.q.shape[0] for part in groups)
        self._columns, self._bits, self._group = first.q.shape[1], first.bits, first.group
        self._q = _tiles(torch.cat([part.q for part in groups]))
        if first.bits == 4:
            half = self._q.view(len(self._q), -1, 2, self._group // 2, TILE_ROWS)
            self._q = (half[:, :, 0] | half[:, :, 1] << 4).flatten(1, 2)
        self._scale = _tiles(torch.cat([part.scale for part in groups]))
        minima = [part.minimum for part in groups if part.minimum is not None]
        self._minimum = _tiles(torch.cat(minima)) if minima else None
        library = packed_library()
        assert library is not None
        self._multiply, self._expand = (
            (library.csps_multiply_nibbles, library.csps_expand_nibbles)
            if first.bits == 4
            else (library.csps_multiply_bytes, library.csps_expand_bytes)
        )
        self._whole = self._of(0, len(self._q))

    @property
    def nbytes(self) -> int:
        return self._q.nbytes + self._scale.nbytes + (0 if self._minimum is None else self._minimum.nbytes)

    def times(self, x: Tensor) -> Tensor:
        x = x.contiguous()
        tiles = self._whole.tiles
        out = x.new_empty(x.shape[0], tiles * TILE_ROWS)
        if x.shape[0] < FEW_TOKENS:
            self._few(out, x, adds=False)
        else:
            for first in range(0, tiles, EXPANDED_TILES):
                slab = self._expanded(first, min(first + EXPANDED_TILES, tiles))
                row = first * TILE_ROWS
                torch.mm(x, slab, out=out[:, row : row + slab.shape[1]])
        return out if out.shape[1] == self._rows else out[:, : self._rows]

    def add_times(self, target: Tensor, x: Tensor) -> None:
        if x.shape[0] < FEW_TOKENS and self._rows % TILE_ROWS == 0 and target.is_contiguous():
            self._few(target, x.contiguous(), adds=True)
        else:
            target.add_(self.times(x))

    def _few(self, target: Tensor, x: Tensor, adds: bool) -> None:
        product = _Product(x.data_ptr(), target.data_ptr(), x.shape[0], target.shape[1], adds, None)
        if not self._multiply(ctypes.byref(self._whole), ctypes.byref(product)):
            raise MemoryError("there is no memory for the sums of a product's activations")

    def lookup(self, numbers: Tensor) -> Tensor:
        tile, row = numbers // TILE_ROWS, numbers % TILE_ROWS
        q = self._q[tile, :, row]
        if self._bits == 4:
            halves = q.unflatten(1, (-1, self._group // 2))
            values = torch.cat([halves & 15, halves >> 4], -1).float()
        else:
            values = q.view(torch.int8).float().unflatten(1, (-1, self._group))
        values *= self._scale[tile, :, row].unsqueeze(-1)
        if self._minimum is not None:
            values += self._minimum[tile, :, row].unsqueeze(-1)
        return values.flatten(1)

    def _expanded(self, first: int, stop: int) -> Tensor:
        """The transpose [columns, rows] of tiles `first` to `stop`, in fp32."""
        slab = torch.empty(self._columns, (stop - first) * TILE_ROWS)
        self._expand(ctypes.byref(self._of(first, stop)), ctypes.c_void_p(slab.data_ptr()))
        return slab

    def _of(self, first: int, stop: int) -> _Weights:
        minimum = None if self._minimum is None else self._minimum[first:].data_ptr()
        q, scale = self._q[first:].data_ptr(), self._scale[first:].data_ptr()
        return _Weights(q, scale, minimum, stop - first, self._columns, self._group)


def _tiles(rows: Tensor) -> Tensor:
    """[rows, n] as [tiles, n, TILE_ROWS]; the last tile is filled up with zeros."""
    padded = torch.nn.functional.pad(rows, (0, 0, 0, -rows.shape[0] % TILE_ROWS))
    return padded.view(-1, TILE_ROWS, rows.shape[1]).transpose(1, 2).contiguous()
