"""Small random models of the Llama family, written by transformers and read by the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from csps_engine.model.config import ModelConfig
from csps_engine.model.llama import Llama
from csps_engine.model.matrix import DenseMatrix
from csps_engine.model.weights import LayerWeights, Weights


def save_tiny_llama(directory: Path, seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    """Write a random model to `directory` (config.json, model.safetensors) and return it."""
    torch.manual_seed(seed)
    fields: dict[str, Any] = {
        "vocab_size": 97,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
        "tie_word_embeddings": False,
    }
    model = LlamaForCausalLM(LlamaConfig(**{**fields, **changes})).eval()
    model.save_pretrained(directory)
    return model


def random_llama(heads: int, kv_heads: int, layers: int = 2, head_dim: int = 8) -> Llama:
    """A random model without any file."""
    config = ModelConfig(
        layers=layers,
        hidden=heads * head_dim,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        ffn=40,
        vocab=61,
        context=1024,
        rope_theta=10000.0,
        norm_eps=1e-5,
        tied_head=True,
    )
    draw = torch.Generator().manual_seed(heads * 100 + kv_heads)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw) * 0.3

    embed = normal(config.vocab, config.hidden)
    rows = (heads + 2 * kv_heads) * head_dim
    each = [
        LayerWeights(
            attention_norm=1 + normal(config.hidden),
            qkv=DenseMatrix(normal(rows, config.hidden)),
            out=DenseMatrix(normal(config.hidden, config.hidden)),
            ffn_norm=1 + normal(config.hidden),
            gate_up=DenseMatrix(normal(2 * config.ffn, config.hidden)),
            down=DenseMatrix(normal(config.hidden, config.ffn)),
        )
        for _ in range(layers)
    ]
    return Llama(config, Weights(DenseMatrix(embed), each, 1 + normal(config.hidden), DenseMatrix(embed)))
