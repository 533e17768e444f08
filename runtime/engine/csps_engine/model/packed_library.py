"""The compiled form of packed.c."""

from __future__ import annotations

import ctypes
from pathlib import Path

from csps_engine.kernels.compiled import compiled

SOURCE = Path(__file__).with_name("packed.c")


def packed_library() -> ctypes.CDLL | None:
    """None where there is no compiler and none is shipped: quantized weights are then expanded to fp32."""
    return compiled(SOURCE)
