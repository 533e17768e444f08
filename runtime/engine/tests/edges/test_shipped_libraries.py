"""An image ships the engine's C code as libraries beside its source."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import csps_engine

USE = """
import logging, torch
logging.basicConfig(level=logging.INFO)
from csps_engine.attention.row import attend_row
from csps_engine.model.packed_library import packed_library
q, k = torch.ones(1, 2, 16), torch.ones(1, 3, 16)
print(packed_library() is not None, attend_row(q, k, k) is not None)
"""


def test_an_engine_with_shipped_libraries_uses_them_and_still_finds_its_modules(tmp_path: Path) -> None:
    shipped = tmp_path / "csps_engine"
    shutil.copytree(Path(csps_engine.__file__).parent, shipped, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, shipped / "kernels" / "compiled.py", shipped], check=True)
    # No compiler and no cache: what is used was shipped.
    bare = {"PYTHONPATH": str(tmp_path), "HOME": "/nonexistent", "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **bare, "CC": "no-such-compiler", "XDG_CACHE_HOME": "/nonexistent"}
    how = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "check": True}
    used = subprocess.run([sys.executable, "-c", USE], **how)
    assert used.stdout.split() == ["True", "True"]
    for library in ("packed", "row"):
        assert f"{library}.c runs compiled, from {shipped}" in used.stderr
