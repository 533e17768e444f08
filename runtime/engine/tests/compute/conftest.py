from __future__ import annotations

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
def oracle(model_file: Path, kept: Path) -> TransformersOracle:
    return TransformersOracle(model_file, kept)
