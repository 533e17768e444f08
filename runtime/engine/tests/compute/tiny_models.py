"""Small random models of every family, written by transformers and read by the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
SHAPE: Mapping[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "tie_word_embeddings": False,
}


def save_tiny(directory: Path, family: str = "llama", seed: int = 0, **changes: Any) -> PreTrainedModel:
    """Write a random model to `directory` (config.json, model.safetensors) and return it."""
    torch.manual_seed(seed)
    own = {"sliding_window": None} if family == "mistral" else {}
    config = AutoConfig.for_model(family, **{**SHAPE, **own, **changes})
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Left at zeros and ones by transformers, biases and norms would hide what is done with them.
            if name.endswith("bias") or "norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(directory)
    return model


def greedy(model: PreTrainedModel, prompt: Sequence[int], steps: int) -> tuple[Tensor, list[int]]:
    """Logits [vocab] after the prompt, and the token drawn from them with the next `steps`."""
    with torch.inference_mode():
        out = model(torch.tensor([list(prompt)]), use_cache=True)
        logits, tokens = out.logits[0, -1], [int(out.logits[0, -1].argmax())]
        for _ in range(steps):
            out = model(torch.tensor([tokens[-1:]]), past_key_values=out.past_key_values, use_cache=True)
            tokens.append(int(out.logits[0, -1].argmax()))
    return logits, tokens
