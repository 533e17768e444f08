from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from transformers_oracle import TransformersOracle

from csps_engine.model.llama import Llama
from csps_engine.model.load import load_model

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model(model_file: Path) -> Llama:
    return load_model(model_file)


@pytest.fixture(scope="session")
def oracle(model_file: Path) -> TransformersOracle:
    """Its answers lie where everything that is dear to make is kept."""
    root = os.environ.get("CSPS_CACHE") or Path.home() / ".cache" / "csps"
    folder = Path(root, "oracle")
    folder.mkdir(parents=True, exist_ok=True)
    return TransformersOracle(model_file, folder)
