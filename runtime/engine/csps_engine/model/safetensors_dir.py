"""Models in a directory of config.json and one or more safetensors files (Hugging Face layout)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from csps_engine.model.config import ModelConfig, ModelError, RopeScaling
from csps_engine.model.weights import TensorNames

SAFETENSORS_NAMES = TensorNames(
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
    halves_rope=True,
)


class SafetensorsDir:
    """An open directory as a source of named tensors."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        files = sorted(directory.glob("*.safetensors"))
        if not files:
            raise ModelError(f"{directory.name} holds no .safetensors file")
        self._where: dict[str, Any] = {}
        for file in files:
            try:
                opened: Any = safe_open(file, framework="pt")
            except SafetensorError as error:
                raise ModelError(f"{file.name} is not a whole safetensors file: {error}") from error
            self._where.update(dict.fromkeys(opened.keys(), opened))

    def shape(self, name: str) -> tuple[int, ...] | None:
        opened = self._where.get(name)
        return None if opened is None else tuple(opened.get_slice(name).get_shape())

    def read(self, name: str) -> Tensor:
        tensor: Tensor = self._where[name].get_tensor(name)
        if not tensor.is_floating_point():
            raise ModelError(f"tensor {name} has the unsupported type {tensor.dtype}")
        return tensor

    def config(self) -> ModelConfig:
        """Hyper-parameters from config.json. Raises ModelError for what cannot be served."""
        path = self._directory / "config.json"
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"config.json cannot be read: {error}") from error
        architecture = fields.get("model_type")
        if architecture != "llama":
            raise ModelError(f"config.json: architecture {architecture} is not supported, only llama is")
        if fields.get("attention_bias") or fields.get("mlp_bias"):
            raise ModelError("config.json: biases in attention or MLP are not supported")
        if fields.get("hidden_act", "silu") != "silu":
            raise ModelError(f"config.json: activation {fields['hidden_act']} is not supported, only silu is")
        if fields.get("quantization_config"):
            raise ModelError("config.json: quantized safetensors are not supported")
        try:
            return _parse(fields)
        except ModelError:
            raise
        except KeyError as error:
            raise ModelError(f"config.json lacks {error}") from error
        except (TypeError, ValueError) as error:
            raise ModelError(f"config.json holds a wrong value: {error}") from error


def _parse(fields: dict[str, Any]) -> ModelConfig:
    heads = int(fields["num_attention_heads"])
    rope = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
    return ModelConfig(
        layers=int(fields["num_hidden_layers"]),
        hidden=int(fields["hidden_size"]),
        heads=heads,
        kv_heads=int(fields.get("num_key_value_heads") or heads),
        head_dim=int(fields.get("head_dim") or int(fields["hidden_size"]) // heads),
        ffn=int(fields["intermediate_size"]),
        vocab=int(fields["vocab_size"]),
        context=int(fields["max_position_embeddings"]),
        rope_theta=float(rope.get("rope_theta") or fields.get("rope_theta") or 10000.0),
        norm_eps=float(fields["rms_norm_eps"]),
        tied_head=bool(fields.get("tie_word_embeddings", False)),
        rope_scaling=_rope_scaling(rope),
    )


def _rope_scaling(rope: dict[str, Any]) -> RopeScaling | None:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return None
    if kind == "linear":
        return RopeScaling(factor=float(rope["factor"]))
    if kind == "llama3":
        return RopeScaling(
            factor=float(rope["factor"]),
            low_frequency_factor=float(rope["low_freq_factor"]),
            high_frequency_factor=float(rope["high_freq_factor"]),
            original_context=int(rope["original_max_position_embeddings"]),
        )
    raise ModelError(f"config.json: RoPE scaling {kind} is not supported")
