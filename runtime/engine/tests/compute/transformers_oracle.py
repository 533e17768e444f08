"""What transformers computes for the test model: prompts, greedy continuations and logits, kept between runs."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

NEW_TOKENS = 64


@dataclass(frozen=True)
class Expected:
    """Prompt tokens, the next NEW_TOKENS greedy tokens, and the logits of the first of them."""

    prompt: tuple[int, ...]
    tokens: list[int]
    logits: Tensor  # [vocab]


class TransformersOracle:
    """Answers from the cache where it can; loads transformers' model only if it must."""

    def __init__(self, model_file: Path, cache: Path) -> None:
        self._file = model_file
        self._cache = cache
        self._loaded: tuple[Any, Any] | None = None
        digest = hashlib.sha256(model_file.read_bytes()).hexdigest()
        self._identity = f"{transformers.__version__}:{torch.__version__}:{digest}"

    def expect(self, text: str, tokens: int | None = None) -> Expected:
        """Continue `text`, cut to its first `tokens` tokens if that is given."""
        key = hashlib.sha256(json.dumps([self._identity, text, tokens, NEW_TOKENS]).encode()).hexdigest()[:24]
        path = self._cache / f"{key}.pt"
        if not path.exists():
            part = path.with_suffix(f".{os.getpid()}")
            torch.save(self._compute(text, tokens), part)
            part.rename(path)
        stored = torch.load(path)
        return Expected(tuple(stored["prompt"]), stored["tokens"], stored["logits"])

    def _compute(self, text: str, tokens: int | None) -> dict[str, Any]:
        model, tokenizer = self._load()
        prompt = tokenizer.encode(text, add_special_tokens=False)[:tokens]
        assert tokens is None or len(prompt) == tokens
        with torch.inference_mode():
            out = model(torch.tensor([prompt]), use_cache=True, logits_to_keep=1)
            first = out.logits[0, -1].clone()
            stream = [int(first.argmax())]
            while len(stream) < NEW_TOKENS:
                out = model(torch.tensor([stream[-1:]]), past_key_values=out.past_key_values, use_cache=True)
                stream.append(int(out.logits[0, -1].argmax()))
        return {"prompt": prompt, "tokens": stream, "logits": first}

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            where: dict[str, Any] = {
                "pretrained_model_name_or_path": self._file.parent,
                "gguf_file": self._file.name,
            }
            model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).eval()
            self._loaded = (model, AutoTokenizer.from_pretrained(**where))
        return self._loaded
