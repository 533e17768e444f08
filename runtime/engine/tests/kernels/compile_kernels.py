"""Compiles every kernel to machine code for chips that are not here, and tells what each takes of a multiprocessor.

As a program: one JSON line a kernel; exits with 1 when one does not fit or spills registers to memory.
    python tests/kernels/compile_kernels.py --arch 80 90 100 --kind bf16 fp16 fp32 --size 64 128
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import triton
from catalog import Case, cases
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

SHARED_BYTES = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024}
"""What one block may take, by compute capability (CUDA programming guide, technical specifications)."""
REGISTERS = 64 * 1024
"""Of one multiprocessor."""
WARP = 32
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


@dataclass(frozen=True)
class Compiled:
    """What one program of a kernel takes."""

    kernel: str
    arch: int
    shared_bytes: int
    registers: int
    """Of a thread."""
    spilled_bytes: int
    """Stack of a thread: registers that did not fit."""
    threads: int
    tensor_cores: str
    """The matrix instruction in its PTX; empty: none."""

    def complaints(self) -> list[str]:
        """Why it would not run, or would run badly."""
        found = []
        if self.shared_bytes > SHARED_BYTES[self.arch]:
            found.append(f"{self.shared_bytes} bytes of shared memory are more than {SHARED_BYTES[self.arch]}")
        if self.registers * self.threads > REGISTERS:
            found.append(f"{self.registers} registers for each of {self.threads} threads are more than {REGISTERS}")
        if self.spilled_bytes > 0:
            found.append(f"{self.spilled_bytes} bytes of registers are spilled")
        return [f"{self.kernel} on sm_{self.arch}: {complaint}" for complaint in found]


def compile_case(case: Case, arch: int) -> Compiled:
    source = ASTSource(case.kernel, case.signature(), case.constants, case.attributes())
    binary = triton.compile(source, target=GPUTarget("cuda", arch, WARP), options=dict(case.options))
    registers, stack = _resources(binary.asm["cubin"])
    ptx = binary.asm["ptx"]
    return Compiled(
        kernel=case.name,
        arch=arch,
        shared_bytes=binary.metadata.shared,
        registers=registers,
        spilled_bytes=stack,
        threads=binary.metadata.num_warps * WARP,
        tensor_cores=next((name for name in ("tcgen05.mma", "wgmma.mma_async", "mma.sync") if name in ptx), ""),
    )


def _resources(cubin: bytes) -> tuple[int, int]:
    """Registers and stack bytes of a thread."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        report = subprocess.run(
            [CUOBJDUMP, "-res-usage", file.name], check=True, capture_output=True, text=True, timeout=60
        ).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", report)
    assert found is not None, report
    return int(found[1]), int(found[2])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", type=int, nargs="+", default=[90], choices=sorted(SHARED_BYTES))
    parser.add_argument("--kind", nargs="+", default=["bf16"], choices=["bf16", "fp16", "fp32"])
    parser.add_argument("--size", type=int, nargs="+", default=[128], choices=[64, 128])
    asked: Any = parser.parse_args(arguments)
    complaints: list[str] = []
    for arch in asked.arch:
        for case in (case for kind in asked.kind for size in asked.size for case in cases(kind, size)):
            compiled = compile_case(case, arch)
            complaints += compiled.complaints()
            sys.stdout.write(json.dumps(asdict(compiled)) + "\n")
            sys.stdout.flush()
    for complaint in complaints:
        sys.stderr.write(complaint + "\n")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
