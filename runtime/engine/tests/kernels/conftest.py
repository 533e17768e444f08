"""Kernels against their torch forms: by Triton's interpreter on CPUs, for real on a GPU.

Triton decides at import, so these tests have a process of their own: TRITON_INTERPRET=1 python -m pytest tests/kernels.
"""

from __future__ import annotations

import pytest
import torch
from draws import DEVICE

torch.set_num_threads(1)


def pytest_configure() -> None:
    if DEVICE == "cuda" and not torch.cuda.is_available():
        raise pytest.UsageError(
            "no GPU here: run the kernels by the interpreter, TRITON_INTERPRET=1 python -m pytest tests/kernels"
        )


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where the kernels run."""
    return torch.device(DEVICE)
