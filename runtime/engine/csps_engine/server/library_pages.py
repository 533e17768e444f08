"""Lets go of the pages of shared libraries that nothing reads after the start.

Loading a library touches far more of it than running does: the dynamic linker looks up thousands of names and adjusts
thousands of addresses, in libraries for GPUs as well where torch brings them. The pages stay in the kernel's cache, so
that one which is needed after all is mapped again without a read.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

MADV_DONTNEED = 4
MAPS = Path("/proc/self/smaps")


@dataclass(frozen=True, slots=True)
class Mapping:
    """A part of a library in memory."""

    start: int
    size: int


def release_library_pages() -> None:
    """Let go of what can be read again. No other thread may load a library meanwhile. Does nothing but on Linux."""
    try:
        smaps = MAPS.read_text()
    except OSError:
        return
    library = ctypes.CDLL(None)
    for mapping in unchanged_mappings(smaps.splitlines()):
        library.madvise(ctypes.c_void_p(mapping.start), ctypes.c_size_t(mapping.size), MADV_DONTNEED)


def unchanged_mappings(smaps: Iterable[str]) -> Iterator[Mapping]:
    """Resident parts of libraries that are as in their files, by the lines of /proc/PID/smaps.

    A page that was written, which is one with adjusted addresses too, would be lost.
    """
    header: list[str] = []
    resident = 0
    for line in smaps:
        words = line.split()
        if not words[0].endswith(":"):
            header = words
        elif words[0] == "Rss:":
            resident = int(words[1])
        elif words[0] == "Anonymous:" and resident and words[1] == "0" and _is_library_text(header):
            start, end = (int(address, 16) for address in header[0].split("-"))
            yield Mapping(start, end - start)


def _is_library_text(header: list[str]) -> bool:
    """ADDRESSES PERMISSIONS OFFSET DEVICE INODE PATH; a deleted library has a word more, and can't be read again."""
    return len(header) == 6 and ".so" in Path(header[5]).suffixes and header[1] in ("r--p", "r-xp")
