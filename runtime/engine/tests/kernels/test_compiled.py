"""Kernels compiled for Hopper, which needs no device. `npm run test:gpu -- --compile-only` compiles every form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PROGRAMS = {
    "digest": 16,
    "votes": 3,
    "expected-weight": 1,
    "block-sparse": 1,
    "paged-decode": 5,
    "chosen-decode": 8,
    "merge": 8,
    "merge-pair": 12,
}
"""How many programs of each kernel one multiprocessor holds, at least: registers and shared memory bound it."""


@pytest.fixture(scope="module")
def compiled() -> dict[str, dict[str, Any]]:
    """What each kernel takes, for bf16 and heads of 128. In a process without the interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"PYTHONPATH": str(HERE.parents[1]), "TRITON_DEFAULT_FP_FUSION": "1"}
    command = [sys.executable, HERE / "compile_kernels.py", "--arch", "90", "--kind", "bf16", "--size", "128"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return {line["kernel"].removesuffix("-bf16-128"): line for line in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("kernel", PROGRAMS)
def test_a_kernel_compiles_for_hopper_without_spilling_and_leaves_room_for_others(
    kernel: str, compiled: dict[str, dict[str, Any]]
) -> None:
    takes = compiled[kernel]
    assert takes["spilled_bytes"] == 0
    assert PROGRAMS[kernel] * takes["shared_bytes"] <= 227 * 1024
    assert PROGRAMS[kernel] * takes["registers"] * takes["threads"] <= 64 * 1024


def test_prompt_kernels_multiply_on_tensor_cores_by_warp_groups(compiled: dict[str, dict[str, Any]]) -> None:
    assert {compiled[kernel]["tensor_cores"] for kernel in ("votes", "expected-weight", "block-sparse")} == {
        "wgmma.mma_async"
    }
    assert compiled["paged-decode"]["tensor_cores"] == "mma.sync"


def test_every_kernel_is_compiled(compiled: dict[str, dict[str, Any]]) -> None:
    assert sorted(compiled) == sorted(PROGRAMS)
