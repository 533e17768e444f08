"""C code of the engine: shipped as a library beside its source in an image, else compiled once for this machine."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

log = logging.getLogger(__name__)

FLAGS = ("-O3", "-Wno-psabi", "-shared", "-fPIC")
COMPILE_SECONDS = 120
HEADER = Path(__file__).with_name("vectors.h")
"""What C files may include."""


@cache
def compiled(source: Path) -> ctypes.CDLL | None:
    """The library of a C file, or None where it is neither shipped nor can be compiled; the log says why."""
    shipped = shipped_path(source)
    try:
        library = shipped if shipped.is_file() else _cached(source)
        loaded = ctypes.CDLL(str(library))
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("a slower way than that of %s is taken, for it cannot be compiled: %s", source.name, error)
        return None
    log.info("%s runs compiled, from %s", source.name, library)
    return loaded


def shipped_path(source: Path) -> Path:
    """Where an image has a C file's library. Python would import x.so in place of x.py beside it."""
    return source.with_name(f"lib{source.stem}.so")


def compile_library(source: Path, target: Path) -> None:
    """Write a library to `target`. Raises OSError or SubprocessError."""
    compiler = shutil.which(os.environ.get("CC") or "cc")
    if compiler is None:
        raise FileNotFoundError("there is no C compiler (cc)")
    command = [compiler, *FLAGS, "-o", str(target), str(source), "-lm"]
    subprocess.run(command, check=True, capture_output=True, timeout=COMPILE_SECONDS)


def _cached(source: Path) -> Path:
    digest = hashlib.sha256(source.read_bytes() + HEADER.read_bytes() + " ".join(FLAGS).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "csps"
    target = folder / f"{source.stem}-{digest}.so"
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        # Renamed when whole: several ranks of one machine may start at once.
        with tempfile.TemporaryDirectory(dir=folder) as part:
            compile_library(source, Path(part) / target.name)
            os.replace(Path(part) / target.name, target)
    return target


def main(folder: Path) -> None:
    """Put the library of every C file under `folder` beside it, as an image ships them."""
    for source in sorted(folder.rglob("*.c")):
        shutil.copyfile(_cached(source), shipped_path(source))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
