"""Tests that need CUDA devices: `npm run test:gpu` runs them. No part of `npm test`."""

from __future__ import annotations

import pytest
import torch


def pytest_configure() -> None:
    if not torch.cuda.is_available():
        raise pytest.UsageError("tests/gpu needs a CUDA device and torch sees none: nothing was run")
