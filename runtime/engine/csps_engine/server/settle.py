"""What a process does once it holds all that it serves with."""

from __future__ import annotations

import ctypes
import gc


def settle() -> None:
    """Give back the memory that only getting here took.

    Expanding weights leaves holes all over the heap, and the C library keeps them until it is asked. What is left
    stays for good, so that the garbage collector need not look at it again.
    """
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc alone has it
        trim(0)
