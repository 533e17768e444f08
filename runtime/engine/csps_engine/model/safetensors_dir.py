"""Models in a directory of config.json and one or more safetensors files (Hugging Face layout)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from csps_engine.model.config import ModelConfig, ModelError
from csps_engine.model.config_json import parse_config
from csps_engine.model.packed_matrix import Groups
from csps_engine.model.tensor_names import Part, TensorNames


class SafetensorsDir:
    """An open directory as a source of named tensors."""

    names = TensorNames(
        embed="model.embed_tokens.weight",
        norm="model.norm.weight",
        head="lm_head.weight",
        attention_norm="model.layers.{}.input_layernorm.weight",
        q="model.layers.{}.self_attn.q_proj.weight",
        k="model.layers.{}.self_attn.k_proj.weight",
        v="model.layers.{}.self_attn.v_proj.weight",
        out="model.layers.{}.self_attn.o_proj.weight",
        ffn_norm="model.layers.{}.post_attention_layernorm.weight",
        gate="model.layers.{}.mlp.gate_proj.weight",
        up="model.layers.{}.mlp.up_proj.weight",
        down="model.layers.{}.mlp.down_proj.weight",
        q_norm="model.layers.{}.self_attn.q_norm.weight",
        k_norm="model.layers.{}.self_attn.k_norm.weight",
        halves_rope=True,
    )

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        files = sorted(directory.glob("*.safetensors"))
        if not files:
            raise ModelError(f"{directory.name} holds no .safetensors file")
        self._where: dict[str, Any] = {}
        for file in files:
            try:
                opened: Any = safe_open(file, framework="pt")
            except (SafetensorError, OSError) as error:
                raise ModelError(f"{file.name} is not a whole safetensors file: {error}") from error
            self._where.update(dict.fromkeys(opened.keys(), opened))

    def shape(self, name: str) -> tuple[int, ...] | None:
        opened = self._where.get(name)
        return None if opened is None else tuple(opened.get_slice(name).get_shape())

    def read(self, part: Part) -> Tensor:
        stored: Any = self._where[part.name].get_slice(part.name)
        tensor: Tensor = stored[part.rows] if len(part.shape) == 1 else stored[part.rows, part.columns]
        if not tensor.is_floating_point():
            raise ModelError(f"tensor {part.name} has the unsupported type {tensor.dtype}")
        return tensor

    def groups(self, part: Part) -> Groups | None:
        return None

    def config(self) -> ModelConfig:
        """Hyper-parameters from config.json. Raises ModelError for what cannot be served."""
        try:
            fields = json.loads((self._directory / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"config.json cannot be read: {error}") from error
        if not isinstance(fields, dict):
            raise ModelError("config.json does not hold a JSON object")
        return parse_config(fields)
