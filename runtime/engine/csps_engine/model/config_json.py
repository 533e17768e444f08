"""Hyper-parameters from the fields of a Hugging Face config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from csps_engine.model.config import ModelConfig, ModelError, RopeScaling
from csps_engine.model.rope import yarn_magnitude

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")

Fields = Mapping[str, Any]


def parse_config(fields: Fields) -> ModelConfig:
    """Raises ModelError with the field, its value and the rule for what cannot be served."""
    family = fields.get("model_type")
    if family not in FAMILIES:
        raise ModelError(f"config.json: model_type is {family}: it must be one of {', '.join(FAMILIES)}")
    try:
        _refuse_variants(fields)
        return _parse(fields, family)
    except ModelError:
        raise
    except KeyError as error:
        raise ModelError(f"config.json lacks {error}") from error
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ModelError(f"config.json holds a wrong value: {error}") from error


def _refuse_variants(fields: Fields) -> None:
    """What the forward pass does not compute."""
    for field in ("attention_bias", "mlp_bias", "quantization_config"):
        if fields.get(field):
            raise ModelError(f"config.json: {field} is {fields[field]}: it must be absent or false")
    activation = fields.get("hidden_act", "silu")
    if activation != "silu":
        raise ModelError(f"config.json: hidden_act is {activation}: it must be silu")
    window, context = _window(fields), int(fields["max_position_embeddings"])
    if window is not None and window < context:
        raise ModelError(
            f"config.json: sliding_window is {window}: it must be absent or at least "
            f"max_position_embeddings ({context}), for attention here sees the whole context"
        )


def _window(fields: Fields) -> int | None:
    """The attention window in tokens, if one is in use."""
    if fields.get("model_type") in ("qwen2", "qwen3") and not fields.get("use_sliding_window", False):
        return None
    return None if fields.get("sliding_window") is None else int(fields["sliding_window"])


def _parse(fields: Fields, family: str) -> ModelConfig:
    heads, context = int(fields["num_attention_heads"]), int(fields["max_position_embeddings"])
    rope: Fields = {**(fields.get("rope_scaling") or {}), **(fields.get("rope_parameters") or {})}
    if float(rope.get("partial_rotary_factor", fields.get("partial_rotary_factor") or 1.0)) != 1.0:
        raise ModelError("config.json: partial_rotary_factor must be 1: RoPE turns whole heads here")
    return ModelConfig(
        layers=int(fields["num_hidden_layers"]),
        hidden=int(fields["hidden_size"]),
        heads=heads,
        kv_heads=int(fields.get("num_key_value_heads") or heads),
        head_dim=int(fields.get("head_dim") or int(fields["hidden_size"]) // heads),
        ffn=int(fields["intermediate_size"]),
        vocab=int(fields["vocab_size"]),
        context=context,
        rope_theta=float(rope.get("rope_theta") or fields.get("rope_theta") or 10000.0),
        norm_eps=float(fields["rms_norm_eps"]),
        tied_head=bool(fields.get("tie_word_embeddings", False)),
        rope_scaling=_rope_scaling(rope, context),
        qkv_bias=family == "qwen2",
        qk_norm=family == "qwen3",
    )


def _rope_scaling(rope: Fields, context: int) -> RopeScaling | None:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    match kind:
        case "default":
            return None
        case "linear":
            return RopeScaling("linear", float(rope["factor"]))
        case "dynamic":
            # transformers counts growth from max_position_embeddings, whatever the original context.
            return RopeScaling("dynamic", float(rope["factor"]), context)
        case "llama3":
            return RopeScaling(
                "llama3",
                float(rope["factor"]),
                int(rope["original_max_position_embeddings"]),
                low_frequency_factor=float(rope["low_freq_factor"]),
                high_frequency_factor=float(rope["high_freq_factor"]),
            )
        case "yarn":
            return _yarn(rope, context)
        case _:
            raise ModelError(
                f"config.json: rope_type is {kind}: it must be one of default, linear, dynamic, llama3, yarn"
            )


def _yarn(rope: Fields, context: int) -> RopeScaling:
    original = int(rope.get("original_max_position_embeddings") or context)
    factor = float(rope.get("factor") or context / original)
    magnitude, scale, scale_all = (rope.get(key) for key in ("attention_factor", "mscale", "mscale_all_dim"))
    if magnitude is None and scale and scale_all:
        magnitude = yarn_magnitude(factor, float(scale)) / yarn_magnitude(factor, float(scale_all))
    return RopeScaling(
        "yarn",
        factor,
        original,
        beta_fast=float(rope.get("beta_fast") or 32),
        beta_slow=float(rope.get("beta_slow") or 1),
        truncate=bool(rope.get("truncate", True)),
        magnitude=yarn_magnitude(factor) if magnitude is None else float(magnitude),
    )
