"""GGUF's quantized blocks taken apart into numbers, scales and minima, without a change of any weight.

Layouts are those of ggml-common.h and ggml-quants.c of llama.cpp. A block type that is absent here is expanded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from csps_engine.model.packed_matrix import Groups

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Parts = tuple[Bytes, Floats, Floats | None]
"""Of n blocks: q [n, weights], scale [n, groups], minimum [n, groups] or None."""


def block_weights(kind: GGMLQuantizationType) -> int:
    """Weights in one block."""
    return int(GGML_QUANT_SIZES[kind][0])


def take_apart(rows: Bytes, kind: GGMLQuantizationType) -> Groups | None:
    """The quantized rows [rows, bytes], or None when blocks of this kind have to be expanded."""
    if kind not in _KINDS:
        return None
    bits, parse = _KINDS[kind]
    q, scale, minimum = parse(rows.reshape(-1, int(GGML_QUANT_SIZES[kind][1])))
    count = len(rows)
    return Groups(
        q=torch.from_numpy(q.reshape(count, -1)),
        scale=torch.from_numpy(scale.reshape(count, -1)),
        minimum=None if minimum is None else torch.from_numpy(minimum.reshape(count, -1)),
        bits=bits,
    )


def _halves(block: Bytes) -> Floats:
    """fp16 numbers [n, bytes / 2] from their bytes [n, bytes]."""
    return np.ascontiguousarray(block).view(np.float16).astype(np.float32)


def _nibbles(block: Bytes) -> Bytes:
    """Low nibbles of each row, then the high ones."""
    return np.concatenate([block & 15, block >> 4], axis=-1)


def _q4_0(block: Bytes) -> Parts:
    scale = _halves(block[:, :2])
    return _nibbles(block[:, 2:]), scale, -8 * scale


def _q4_1(block: Bytes) -> Parts:
    return _nibbles(block[:, 4:]), _halves(block[:, :2]), _halves(block[:, 2:4])


def _fifth_bits(block: Bytes) -> Bytes:
    """The fifth bit of each of 32 weights, in its place, from 4 bytes."""
    return np.unpackbits(block, axis=-1, bitorder="little") << np.uint8(4)


def _q5_0(block: Bytes) -> Parts:
    q = _nibbles(block[:, 6:]) | _fifth_bits(block[:, 2:6])
    return q - np.uint8(16), _halves(block[:, :2]), None


def _q5_1(block: Bytes) -> Parts:
    q = _nibbles(block[:, 8:]) | _fifth_bits(block[:, 4:8])
    return q, _halves(block[:, :2]), _halves(block[:, 2:4])


def _q8_0(block: Bytes) -> Parts:
    return block[:, 2:], _halves(block[:, :2]), None


def _q4_k(block: Bytes) -> Parts:
    """Eight groups of 32; scales and minima have six bits, of which the upper two of the last four lie elsewhere."""
    first, second, third = block[:, 4:8], block[:, 8:12], block[:, 12:16]
    scales = np.concatenate([first & 63, third & 15 | first >> 6 << 4], axis=-1).astype(np.float32)
    minima = np.concatenate([second & 63, third >> 4 | second >> 6 << 4], axis=-1).astype(np.float32)
    q = _nibbles(block[:, 16:].reshape(len(block), 4, 32)).reshape(len(block), 256)
    return q, scales * _halves(block[:, :2]), -minima * _halves(block[:, 2:4])


def _q6_k(block: Bytes) -> Parts:
    """Sixteen groups of 16; the low four bits and the high two are apart, by halves of the block."""
    low = _nibbles(block[:, :128].reshape(len(block), 2, 64)).reshape(len(block), 2, 4, 32)
    shifts = np.array([0, 2, 4, 6], dtype=np.uint8)[:, None]
    high = block[:, 128:192].reshape(len(block), 2, 1, 32) >> shifts & np.uint8(3)
    scale = np.ascontiguousarray(block[:, 192:208]).view(np.int8) * _halves(block[:, 208:])
    q = low | high << np.uint8(4)
    return q.reshape(len(block), 256) - np.uint8(32), scale, None


_KINDS: Mapping[GGMLQuantizationType, tuple[int, Callable[[Bytes], Parts]]] = {
    GGMLQuantizationType.Q4_0: (4, _q4_0),
    GGMLQuantizationType.Q4_1: (4, _q4_1),
    GGMLQuantizationType.Q5_0: (8, _q5_0),
    GGMLQuantizationType.Q5_1: (8, _q5_1),
    GGMLQuantizationType.Q8_0: (8, _q8_0),
    GGMLQuantizationType.Q4_K: (4, _q4_k),
    GGMLQuantizationType.Q6_K: (8, _q6_k),
}
