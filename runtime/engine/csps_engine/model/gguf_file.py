"""Models in GGUF files (llama architecture, any quantization that the gguf library can expand)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader, ReaderTensor
from gguf.quants import dequantize
from torch import Tensor

from csps_engine.model.config import ModelConfig, ModelError, RopeScaling
from csps_engine.model.weights import TensorNames

EXPANDED_ROWS = 2048

GGUF_NAMES = TensorNames(
    embed="token_embd.weight",
    norm="output_norm.weight",
    head="output.weight",
    attention_norm="blk.{}.attn_norm.weight",
    q="blk.{}.attn_q.weight",
    k="blk.{}.attn_k.weight",
    v="blk.{}.attn_v.weight",
    out="blk.{}.attn_output.weight",
    ffn_norm="blk.{}.ffn_norm.weight",
    gate="blk.{}.ffn_gate.weight",
    up="blk.{}.ffn_up.weight",
    down="blk.{}.ffn_down.weight",
    halves_rope=False,
)


class GgufFile:
    """An open GGUF file as a source of named tensors."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._reader = GGUFReader(path)
        except (ValueError, IndexError, KeyError, OverflowError) as error:
            raise ModelError(f"{path.name} is not a whole GGUF file: {error}") from error
        self._tensors: dict[str, ReaderTensor] = {tensor.name: tensor for tensor in self._reader.tensors}

    def shape(self, name: str) -> tuple[int, ...] | None:
        tensor = self._tensors.get(name)
        # GGUF lists the fastest dimension first.
        return None if tensor is None else tuple(int(size) for size in reversed(tensor.shape))

    def read(self, name: str) -> Tensor:
        tensor = self._tensors[name]
        values = np.empty(tuple(reversed(tensor.shape)), dtype=np.float32)
        try:
            # Some rows at a time: the library's scratch space is several times what it expands.
            for row in range(0, len(values), EXPANDED_ROWS):
                rows = slice(row, row + EXPANDED_ROWS)
                values[rows] = dequantize(tensor.data[rows], tensor.tensor_type)
        except NotImplementedError as error:
            raise ModelError(f"tensor {name} has the unsupported type {tensor.tensor_type.name}") from error
        return torch.from_numpy(values)

    def config(self) -> ModelConfig:
        """Hyper-parameters from the file's metadata. Raises ModelError for what cannot be served."""
        architecture = self._field("general.architecture")
        if architecture != "llama":
            raise ModelError(f"{self._path.name}: architecture {architecture} is not supported, only llama is")

        def field(key: str, default: Any = None) -> Any:
            return self._field(f"llama.{key}", default)

        hidden, heads = int(field("embedding_length")), int(field("attention.head_count"))
        head_dim = int(field("attention.key_length", hidden // heads))
        if int(field("rope.dimension_count", head_dim)) != head_dim:
            raise ModelError(f"{self._path.name}: RoPE over a part of each head is not supported")
        if int(field("expert_count", 0)) != 0:
            raise ModelError(f"{self._path.name}: mixture-of-experts layers are not supported")
        if "rope_freqs.weight" in self._tensors:
            raise ModelError(f"{self._path.name}: RoPE factors in a tensor (rope_freqs.weight) are not supported")
        embedding = self.shape(GGUF_NAMES.embed)
        if embedding is None:
            raise ModelError(f"tensor {GGUF_NAMES.embed} is missing")
        return ModelConfig(
            layers=int(field("block_count")),
            hidden=hidden,
            heads=heads,
            kv_heads=int(field("attention.head_count_kv", heads)),
            head_dim=head_dim,
            ffn=int(field("feed_forward_length")),
            vocab=embedding[0],
            context=int(field("context_length")),
            rope_theta=float(field("rope.freq_base", 10000.0)),
            norm_eps=float(field("attention.layer_norm_rms_epsilon")),
            tied_head=GGUF_NAMES.head not in self._tensors,
            rope_scaling=self._rope_scaling(),
        )

    def _rope_scaling(self) -> RopeScaling | None:
        kind = self._field("llama.rope.scaling.type", "none")
        if kind == "none":
            return None
        if kind == "linear":
            return RopeScaling(factor=float(self._field("llama.rope.scaling.factor")))
        raise ModelError(f"{self._path.name}: RoPE scaling {kind} is not supported")

    def _field(self, key: str, default: Any = None) -> Any:
        field = self._reader.fields.get(key)
        if field is not None:
            return field.contents()
        if default is None:
            raise ModelError(f"{self._path.name}: the metadata lacks {key}")
        return default
