"""How a process on a CPU keeps its memory to what it serves with."""

from __future__ import annotations

import ctypes
import gc

LARGE_BLOCK_BYTES = 8 << 20
KEPT_BYTES = 64 << 20
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def keep_large_blocks_apart() -> None:
    """Let the C library map large blocks one by one, so that they leave no hole when they are freed.

    Left alone it takes blocks of up to 32 MiB from heaps of 64 MiB, of which then little fits the next prompt. New
    pages for each block cost less than a hundredth of what is computed in it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc alone has it
        mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def settle() -> None:
    """Give back the memory that only getting here took, once all is there that the process serves with.

    Expanding weights leaves holes all over the heap, and the C library keeps them until it is asked. What is left
    stays for good, so that the garbage collector need not look at it again.
    """
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
