from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from prompt_kv import prefill
from safetensors.torch import load_file, save_file
from tiny_llama import save_tiny_llama
from transformers import LlamaForCausalLM

from csps_engine.model.config import ModelError
from csps_engine.model.gguf_file import GgufFile
from csps_engine.model.llama import Llama
from csps_engine.model.load import load_model
from csps_engine.model.weights import WeightForm, halves_to_pairs

PROMPT = tuple(range(3, 90, 7)) * 6


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    save_tiny_llama(tmp_path)
    return tmp_path


def assert_same_logits(model: Llama, oracle: LlamaForCausalLM) -> None:
    with torch.inference_mode():
        expected = oracle(torch.tensor([PROMPT])).logits[0, -1]
    torch.testing.assert_close(prefill(model, PROMPT, 1).logits, expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": True},
        {"head_dim": 16},
        {"num_key_value_heads": 6},
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}},
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            }
        },
    ],
)
def test_safetensors_models_compute_what_transformers_computes(tmp_path: Path, changes: dict[str, Any]) -> None:
    oracle = save_tiny_llama(tmp_path, **changes)
    assert_same_logits(load_model(tmp_path), oracle)


def test_a_model_in_several_files_loads(tiny: Path) -> None:
    oracle = LlamaForCausalLM.from_pretrained(tiny).eval()
    tensors = load_file(tiny / "model.safetensors")
    (tiny / "model.safetensors").unlink()
    names = sorted(tensors)
    save_file({name: tensors[name] for name in names[::2]}, tiny / "model-00001-of-00002.safetensors")
    save_file({name: tensors[name] for name in names[1::2]}, tiny / "model-00002-of-00002.safetensors")
    assert_same_logits(load_model(tiny), oracle)


def test_a_gguf_file_written_from_the_same_weights_computes_the_same(tiny: Path, tmp_path: Path) -> None:
    oracle = LlamaForCausalLM.from_pretrained(tiny).eval()
    assert_same_logits(load_model(write_gguf(tmp_path / "tiny.gguf", oracle)), oracle)


def write_gguf(path: Path, model: LlamaForCausalLM, architecture: str = "llama", leave_out: str = "") -> Path:
    """What llama.cpp's converter writes: q and k rows in pairs, its own names."""
    config = model.config
    writer = GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    renamed = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "model.layers": "blk",
        "self_attn.o_proj": "attn_output",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "post_attention_layernorm": "ffn_norm",
        "input_layernorm": "attn_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    for name, tensor in model.state_dict().items():
        if "q_proj" in name:
            tensor = halves_to_pairs(tensor, config.num_attention_heads)
        if "k_proj" in name:
            tensor = halves_to_pairs(tensor, config.num_key_value_heads)
        for old, new in renamed.items():
            name = name.replace(old, new)
        if name != leave_out:
            writer.add_tensor(name, np.ascontiguousarray(tensor.numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def edit_config(directory: Path, **changes: Any) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"model_type": "mamba"}, "model_type is mamba: it must be one of llama, mistral, qwen2, qwen3"),
        ({"attention_bias": True}, "attention_bias is True: it must be absent or false"),
        ({"hidden_act": "gelu"}, "hidden_act is gelu: it must be silu"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is .*: it must be absent"),
        ({"rope_parameters": {"rope_type": "longrope", "factor": 2.0}}, "rope_type is longrope: it must be one of"),
        ({"num_key_value_heads": 4}, "6 query heads cannot share 4 KV heads"),
        ({"num_hidden_layers": "many"}, "holds a wrong value: .*many"),
        ({"hidden_size": 64}, r"tensor model.embed_tokens.weight has shape \[97, 48\], not \[97, 64\]"),
        ({"num_hidden_layers": 4}, "tensor model.layers.3.input_layernorm.weight is missing"),
    ],
)
def test_a_directory_that_cannot_be_served_says_why(tiny: Path, changes: dict[str, Any], complaint: str) -> None:
    edit_config(tiny, **changes)
    with pytest.raises(ModelError, match=complaint):
        load_model(tiny)


def test_a_truncated_safetensors_file_is_refused(tiny: Path) -> None:
    file = tiny / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"model.safetensors is not a whole safetensors file"):
        load_model(tiny)


def test_a_directory_without_config_is_refused(tiny: Path) -> None:
    (tiny / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config.json cannot be read"):
        load_model(tiny)


def test_a_gguf_file_of_another_architecture_is_refused(tiny: Path, tmp_path: Path) -> None:
    model = LlamaForCausalLM.from_pretrained(tiny)
    with pytest.raises(ModelError, match=r"general.architecture is falcon: it must be one of llama, qwen2, qwen3"):
        load_model(write_gguf(tmp_path / "other.gguf", model, architecture="falcon"))


def test_a_gguf_file_that_lacks_a_tensor_is_refused(tiny: Path, tmp_path: Path) -> None:
    model = LlamaForCausalLM.from_pretrained(tiny)
    with pytest.raises(ModelError, match=r"tensor blk.1.ffn_up.weight is missing"):
        load_model(write_gguf(tmp_path / "less.gguf", model, leave_out="blk.1.ffn_up.weight"))


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_truncated_gguf_file_is_refused(model_file: Path, tmp_path: Path, share: float) -> None:
    cut = tmp_path / "cut.gguf"
    with model_file.open("rb") as whole:
        cut.write_bytes(whole.read(int(model_file.stat().st_size * share)))
    with pytest.raises(ModelError, match=r"cut.gguf is not a whole GGUF file"):
        load_model(cut)


def test_what_is_no_model_is_refused(tmp_path: Path, model_file: Path) -> None:
    with pytest.raises(ModelError, match="there is no model"):
        load_model(tmp_path / "absent")
    with pytest.raises(ModelError, match=r"holds 0 .gguf files"):
        load_model(tmp_path)
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"neither a .gguf file nor a directory"):
        load_model(tmp_path / "model.bin")
    (tmp_path / "junk.gguf").write_bytes(b"GGUX" * 8)
    with pytest.raises(ModelError, match="not a whole GGUF file"):
        load_model(tmp_path)


def test_the_test_models_shape_is_read_from_its_metadata(model_file: Path) -> None:
    config = GgufFile(model_file).config()
    assert (config.layers, config.hidden, config.heads, config.kv_heads, config.head_dim) == (30, 576, 9, 3, 64)
    assert (config.ffn, config.vocab, config.context, config.tied_head) == (1536, 49152, 8192, True)
    assert config.weight_bytes(4) == pytest.approx(538e6, rel=0.01)


def test_weights_load_in_half_precision(tiny: Path) -> None:
    model = load_model(tiny, WeightForm(torch.bfloat16))
    assert model.dtype == torch.bfloat16
    assert model.logits(model.embed(torch.tensor([1, 2]))).dtype == torch.float32
