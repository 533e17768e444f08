"""A tiny Llama with random weights on disk, and what transformers generates with it: the oracle of these tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

VOCAB = 256
CONTEXT = 2048


def write_tiny_model(folder: Path) -> None:
    """Weights wide enough that two likeliest tokens never come close to a tie."""
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.4,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).to(torch.float32).save_pretrained(folder)
    vocab = {f"t{i}": i for i in range(VOCAB)}
    model = {"type": "WordLevel", "vocab": vocab, "unk_token": "t2"}
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": model}))


class Oracle:
    def __init__(self, folder: Path) -> None:
        self._model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.inference_mode()
    def greedy(self, prompt: Sequence[int], count: int) -> list[int]:
        """The `count` greedy tokens after `prompt`; the end token does not end them."""
        tokens: list[int] = []
        said = self._model(torch.tensor([list(prompt)]), use_cache=True)
        while len(tokens) < count:
            tokens.append(int(said.logits[0, -1].argmax()))
            said = self._model(torch.tensor([tokens[-1:]]), past_key_values=said.past_key_values, use_cache=True)
        return tokens


def prompt_of(length: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2, VOCAB, (length,), generator=generator).tolist()
