"""The compiled form of packed.c: shipped beside it in an image, else compiled once for this machine."""

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

SOURCE = Path(__file__).with_name("packed.c")
SHIPPED = SOURCE.with_suffix(".so")
FLAGS = ("-O3", "-Wno-psabi", "-shared", "-fPIC")
COMPILE_SECONDS = 120


@cache
def packed_library() -> ctypes.CDLL | None:
    """The library, or None where it is neither shipped nor can be compiled; the log says why."""
    try:
        return ctypes.CDLL(str(SHIPPED if SHIPPED.is_file() else _compiled()))
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("quantized weights are expanded to fp32, for %s cannot be compiled: %s", SOURCE.name, error)
        return None


def compile_library(target: Path) -> None:
    """Write the library to `target`. Raises OSError or SubprocessError."""
    compiler = shutil.which(os.environ.get("CC") or "cc")
    if compiler is None:
        raise FileNotFoundError("there is no C compiler (cc)")
    command = [compiler, *FLAGS, "-o", str(target), str(SOURCE)]
    subprocess.run(command, check=True, capture_output=True, timeout=COMPILE_SECONDS)


def _compiled() -> Path:
    digest = hashlib.sha256(SOURCE.read_bytes() + " ".join(FLAGS).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "csps"
    target = folder / f"packed-{digest}.so"
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        # Renamed when whole: several ranks of one machine may start at once.
        with tempfile.TemporaryDirectory(dir=folder) as part:
            compile_library(Path(part) / target.name)
            os.replace(Path(part) / target.name, target)
    return target


if __name__ == "__main__":
    compile_library(Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED)
