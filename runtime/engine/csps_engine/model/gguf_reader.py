"""What a GGUF file holds, found without a copy and without an object for each of its hundred thousand strings.

The gguf library's own reader makes several arrays of every token of the vocabulary: seconds and tens of megabytes of
each start. Here a list of strings is stepped over, and decoded by who asks for it. Layout: docs/gguf.md of ggml.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

V = TypeVar("V")
MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = "general.alignment"
DEFAULT_ALIGNMENT = 32
MOST_DIMENSIONS = 4
STRING, ARRAY = 8, 9

_NUMBERS: Mapping[int, str] = {
    0: "u1",
    1: "i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
"""numpy's names of the kinds of numbers."""
_PLAIN: Mapping[GGMLQuantizationType, str] = {
    GGMLQuantizationType.F32: "<f4",
    GGMLQuantizationType.F16: "<f2",
    GGMLQuantizationType.F64: "<f8",
    GGMLQuantizationType.I8: "i1",
    GGMLQuantizationType.I16: "<i2",
    GGMLQuantizationType.I32: "<i4",
    GGMLQuantizationType.I64: "<i8",
}
"""Tensors whose elements numpy knows; others are bytes of blocks."""
_LENGTH = struct.Struct("<Q")


class GgufError(ValueError):
    """The file is no GGUF file, or not a whole one."""


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """A tensor as it is in the file."""

    kind: GGMLQuantizationType
    shape: tuple[int, ...]
    """The slowest dimension first."""
    data: npt.NDArray[Any]
    """A view of the file [..., elements], or [..., bytes of blocks] of a quantized tensor."""


@dataclass(frozen=True, slots=True)
class _Values:
    """Where a value is, or a list of them."""

    kind: int
    start: int
    count: int | None
    """None: a single value."""


class GgufReader:
    """An open file. Its pages stay mapped as long as this or a tensor's data lives."""

    def __init__(self, path: Path) -> None:
        """Raises GgufError, which says what is wrong with the file, and OSError."""
        with path.open("rb") as file:
            try:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError as error:
                raise GgufError("it is empty") from error
        self._at = 0
        if self._take(4) != MAGIC:
            raise GgufError("it does not begin with GGUF")
        version = self._number(4)
        if version not in VERSIONS:
            raise GgufError(f"it has version {version}; known are {', '.join(map(str, VERSIONS))}")
        tensors, keys = self._number(8), self._number(8)
        self._fields = _unique(self._field() for _ in range(keys))
        described = _unique(self._described() for _ in range(tensors))
        alignment = self.field(ALIGNMENT) if ALIGNMENT in self._fields else DEFAULT_ALIGNMENT
        if not isinstance(alignment, int) or alignment <= 0:
            raise GgufError(f"{ALIGNMENT} is {alignment}")
        start = -(-self._at // alignment) * alignment
        self.tensors: Mapping[str, GgufTensor] = {
            name: self._tensor(name, kind, shape, start + offset) for name, (kind, shape, offset) in described.items()
        }

    def field(self, key: str) -> Any:
        """The value of a key of the metadata, or None."""
        values = self._fields.get(key)
        if values is None:
            return None
        self._at = values.start
        if values.kind == STRING:
            texts = [self._text() for _ in range(1 if values.count is None else values.count)]
            return texts[0] if values.count is None else texts
        numbers = self._numbers(values).tolist()
        return numbers[0] if values.count is None else numbers

    def fields(self) -> dict[str, Any]:
        """All metadata; a vocabulary is some hundred thousand strings."""
        return {key: self.field(key) for key in self._fields}

    def _field(self) -> tuple[str, _Values]:
        key, kind, count = self._text(), self._number(4), None
        if kind == ARRAY:
            kind, count = self._number(4), self._number(8)
        values = _Values(kind, self._at, count)
        if kind == STRING:
            self._step_over_texts(1 if count is None else count)
        elif kind in _NUMBERS:
            self._take(_size(values))
        else:
            raise GgufError(f"{key} has a value of the unknown kind {kind}")
        return key, values

    def _described(self) -> tuple[str, tuple[GGMLQuantizationType, tuple[int, ...], int]]:
        name, dimensions = self._text(), self._number(4)
        if dimensions > MOST_DIMENSIONS:
            raise GgufError(f"tensor {name} has {dimensions} dimensions")
        sizes = [self._number(8) for _ in range(dimensions)]
        if 0 in sizes:
            raise GgufError(f"tensor {name} is empty")
        number = self._number(4)
        try:
            kind = GGMLQuantizationType(number)
        except ValueError:
            raise GgufError(f"tensor {name} is of the unknown kind {number}") from None
        return name, (kind, tuple(reversed(sizes)), self._number(8))

    def _tensor(self, name: str, kind: GGMLQuantizationType, shape: tuple[int, ...], start: int) -> GgufTensor:
        weights, size = GGML_QUANT_SIZES[kind]
        row = shape[-1] if shape else 1
        if row % weights:
            raise GgufError(f"tensor {name} has rows of {row} elements, which are no whole blocks of {weights}")
        end = start + math.prod(shape) // weights * size
        if end > len(self._bytes):
            raise GgufError(f"tensor {name} ends at byte {end} of a file of {len(self._bytes)}")
        plain = _PLAIN.get(kind)
        stored = shape if plain else (*shape[:-1], row // weights * size)
        form = np.dtype(plain or "u1")
        data = np.frombuffer(self._bytes, form, math.prod(stored), start).reshape(stored)
        return GgufTensor(kind, shape, data)

    def _numbers(self, values: _Values) -> npt.NDArray[Any]:
        return np.frombuffer(self._take(_size(values)), _NUMBERS[values.kind])

    def _number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "little")

    def _text(self) -> str:
        return self._take(self._number(8)).decode()

    def _take(self, size: int) -> bytes:
        """The next bytes, which are copied."""
        start, self._at = self._at, self._at + size
        if self._at > len(self._bytes):
            raise self._short()
        return self._bytes[start : self._at]

    def _step_over_texts(self, count: int) -> None:
        data, at, last = self._bytes, self._at, len(self._bytes) - _LENGTH.size
        for _ in range(count):
            if at > last:
                raise self._short()
            at += _LENGTH.size + _LENGTH.unpack_from(data, at)[0]
        self._at = at
        if at > len(data):
            raise self._short()

    def _short(self) -> GgufError:
        return GgufError(f"it ends within its description, at byte {len(self._bytes)}")


def _size(values: _Values) -> int:
    return np.dtype(_NUMBERS[values.kind]).itemsize * (1 if values.count is None else values.count)


def _unique(pairs: Iterator[tuple[str, V]]) -> dict[str, V]:
    found: dict[str, V] = {}
    for name, value in pairs:
        if name in found:
            raise GgufError(f"{name} is there twice")
        found[name] = value
    return found
