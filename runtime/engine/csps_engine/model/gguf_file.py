"""Models in GGUF files: the Llama and Qwen architectures, any quantization that the gguf library can expand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from torch import Tensor

from csps_engine.model.config import ModelConfig, ModelError, RopeScaling
from csps_engine.model.gguf_blocks import block_weights, take_apart
from csps_engine.model.gguf_reader import GgufReader
from csps_engine.model.packed_matrix import Groups
from csps_engine.model.rope import yarn_magnitude
from csps_engine.model.tensor_names import Part, TensorNames

EXPANDED_ROWS = 512

ARCHITECTURES = ("llama", "qwen2", "qwen3")
"""Mistral's files say llama."""

NAMES = TensorNames(
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
    q_norm="blk.{}.attn_q_norm.weight",
    k_norm="blk.{}.attn_k_norm.weight",
    halves_rope=False,
)
DIVISORS = "rope_freqs.weight"


class GgufFile:
    """An open GGUF file as a source of named tensors."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._reader = GgufReader(path)
        except (ValueError, ArithmeticError, OSError, MemoryError) as error:
            raise ModelError(f"{path.name} is not a whole GGUF file: {error}") from error

    @property
    def names(self) -> TensorNames:
        # Converters reorder the rows of q and k to interleaved pairs for the llama architecture only.
        return replace(NAMES, halves_rope=self._architecture() != "llama")

    def shape(self, name: str) -> tuple[int, ...] | None:
        tensor = self._reader.tensors.get(name)
        return None if tensor is None else tensor.shape

    def read(self, part: Part) -> Tensor:
        tensor = self._reader.tensors[part.name]
        stored = tensor.data[part.rows]
        rows, columns = (len(stored), *part.shape[1:]), part.columns
        values = np.empty((rows[0], len(range(part.shape[1])[columns])) if len(rows) == 2 else rows, dtype=np.float32)
        try:
            # Some rows at a time: the scratch space is several times what is expanded.
            for row in range(0, len(values), EXPANDED_ROWS):
                expanded = _expand(stored[row : row + EXPANDED_ROWS], tensor.kind)
                values[row : row + EXPANDED_ROWS] = expanded if len(rows) == 1 else expanded[:, columns]
        except NotImplementedError as error:
            raise ModelError(f"tensor {part.name} has the unsupported type {tensor.kind.name}") from error
        return torch.from_numpy(values)

    def groups(self, part: Part) -> Groups | None:
        tensor, width = self._reader.tensors[part.name], part.shape[1]
        start, stop, _ = part.columns.indices(width)
        weights = block_weights(tensor.kind)
        if weights == 1 or start % weights or stop % weights:
            return None  # not in blocks, or the cut goes through one
        size = int(GGML_QUANT_SIZES[tensor.kind][1])
        return take_apart(tensor.data[part.rows, start // weights * size : stop // weights * size], tensor.kind)

    def config(self) -> ModelConfig:
        """Hyper-parameters from the file's metadata. Raises ModelError for what cannot be served."""
        try:
            return self._config()
        except ModelError:
            raise
        except (TypeError, ValueError, IndexError, ArithmeticError) as error:
            raise ModelError(f"{self._path.name}: the metadata holds a wrong value: {error}") from error

    def _config(self) -> ModelConfig:
        family = self._architecture()
        if family not in ARCHITECTURES:
            raise self._refusal("general.architecture", family, f"one of {', '.join(ARCHITECTURES)}")
        hidden, heads = int(self._of("embedding_length")), int(self._of("attention.head_count"))
        context = int(self._of("context_length"))
        head_dim = int(self._of("attention.key_length", hidden // heads))
        for key, value, rule in (
            ("rope.dimension_count", head_dim, f"the head size {head_dim}: RoPE turns whole heads here"),
            ("attention.value_length", head_dim, f"the head size {head_dim}"),
            ("expert_count", 0, "0: mixture-of-experts layers are not served"),
        ):
            if int(self._of(key, value)) != value:
                raise self._refusal(f"{family}.{key}", self._of(key), rule)
        window = int(self._of("attention.sliding_window", context))
        if 0 < window < context:
            raise self._refusal(f"{family}.attention.sliding_window", window, f"absent or at least {context}")
        embedding = self.shape(NAMES.embed)
        if embedding is None:
            raise ModelError(f"tensor {NAMES.embed} is missing")
        return ModelConfig(
            layers=int(self._of("block_count")),
            hidden=hidden,
            heads=heads,
            kv_heads=int(self._of("attention.head_count_kv", heads)),
            head_dim=head_dim,
            ffn=int(self._of("feed_forward_length")),
            vocab=embedding[0],
            context=context,
            rope_theta=float(self._of("rope.freq_base", 10000.0)),
            norm_eps=float(self._of("attention.layer_norm_rms_epsilon")),
            tied_head=NAMES.head not in self._reader.tensors,
            rope_scaling=self._rope_scaling(context),
            qkv_bias=family == "qwen2",
            qk_norm=family == "qwen3",
        )

    def _rope_scaling(self, context: int) -> RopeScaling | None:
        divisors = self.shape(DIVISORS)
        if divisors is not None:
            values = self.read(Part(DIVISORS, divisors)).flatten().tolist()
            return RopeScaling("divisors", divisors=tuple(values))
        kind = self._of("rope.scaling.type", "none")
        if kind == "none":
            return None
        if kind not in ("linear", "yarn"):
            raise self._refusal("rope.scaling.type", kind, "one of none, linear, yarn")
        factor = float(self._of("rope.scaling.factor"))
        if kind == "linear":
            return RopeScaling("linear", factor)
        return RopeScaling(
            "yarn",
            factor,
            int(self._of("rope.scaling.original_context_length", context)),
            beta_fast=float(self._of("rope.scaling.yarn_beta_fast", 32.0)),
            beta_slow=float(self._of("rope.scaling.yarn_beta_slow", 1.0)),
            magnitude=float(self._of("rope.scaling.yarn_attn_factor", 1.0)) * yarn_magnitude(factor),
        )

    def _architecture(self) -> str:
        return str(self._field("general.architecture"))

    def _of(self, key: str, default: Any = None) -> Any:
        return self._field(f"{self._architecture()}.{key}", default)

    def _field(self, key: str, default: Any = None) -> Any:
        value = self._reader.field(key)
        if value is not None:
            return value
        if default is None:
            raise ModelError(f"{self._path.name}: the metadata lacks {key}")
        return default

    def _refusal(self, key: str, value: object, rule: str) -> ModelError:
        return ModelError(f"{self._path.name}: {key} is {value}: it must be {rule}")


def _expand(rows: npt.NDArray[Any], kind: GGMLQuantizationType) -> npt.NDArray[np.float32]:
    # The library, which knows every kind, takes sixteen rows at a time and so several times as long.
    groups = take_apart(rows, kind) if rows.ndim == 2 else None
    return dequantize(rows, kind) if groups is None else groups.expanded().numpy()
