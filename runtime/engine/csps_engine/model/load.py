"""Open a model, whatever its file format."""

from __future__ import annotations

from pathlib import Path

import torch

from csps_engine.model.config import ModelError
from csps_engine.model.gguf_file import GGUF_NAMES, GgufFile
from csps_engine.model.llama import Llama
from csps_engine.model.safetensors_dir import SAFETENSORS_NAMES, SafetensorsDir
from csps_engine.model.weights import load_weights


def load_model(path: Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Llama:
    """Load a GGUF file, a directory with one GGUF file, or a directory of safetensors.

    Raises ModelError, naming what is at fault, before any memory for weights is taken.
    """
    target = torch.device(device)
    file = _find(path)
    if file.is_dir():
        directory = SafetensorsDir(file)
        config = directory.config()
        return Llama(config, load_weights(config, directory, SAFETENSORS_NAMES, dtype, target))
    gguf = GgufFile(file)
    config = gguf.config()
    return Llama(config, load_weights(config, gguf, GGUF_NAMES, dtype, target))


def _find(path: Path) -> Path:
    if not path.exists():
        raise ModelError(f"there is no model at {path}")
    if path.is_file():
        if path.suffix == ".gguf":
            return path
        raise ModelError(f"{path.name} is neither a .gguf file nor a directory")
    if any(path.glob("*.safetensors")):
        return path
    found = sorted(path.glob("*.gguf"))
    if len(found) != 1:
        raise ModelError(f"{path} holds {len(found)} .gguf files and no .safetensors; one model was expected")
    return found[0]
