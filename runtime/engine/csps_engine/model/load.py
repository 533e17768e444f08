"""Open a model, whatever its file format."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from csps_engine.model.config import WHOLE, ModelConfig, ModelError, Shard
from csps_engine.model.gguf_file import GgufFile
from csps_engine.model.llama import Llama
from csps_engine.model.safetensors_dir import SafetensorsDir
from csps_engine.model.tensor_group import TensorGroup
from csps_engine.model.tensor_names import TensorNames
from csps_engine.model.weights import TensorSource, WeightForm, load_weights

FP32 = WeightForm()


class ModelFile(TensorSource, Protocol):
    """An open model: its tensors and what they mean."""

    @property
    def names(self) -> TensorNames: ...

    def config(self) -> ModelConfig:
        """Raises ModelError for what cannot be served."""
        ...


def load_model(
    path: Path, form: WeightForm = FP32, shard: Shard = WHOLE, tensor_group: TensorGroup | None = None
) -> Llama:
    """Load a GGUF file, a directory with one GGUF file, or a directory of safetensors.

    A shard of a model needs the group that it computes with. Raises ModelError, naming what is at fault, before any
    memory for weights is taken.
    """
    return load_shard(open_model(path), form, shard, tensor_group)


def load_shard(file: ModelFile, form: WeightForm, shard: Shard, tensor_group: TensorGroup | None) -> Llama:
    """The same from an open model."""
    config = file.config()
    own = shard.config(config)
    return Llama(own, load_weights(config, file, file.names, form, shard), tensor_group)


def open_model(path: Path) -> ModelFile:
    """Raises ModelError when there is no model of a known form."""
    file = _find(path)
    return SafetensorsDir(file) if file.is_dir() else GgufFile(file)


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
