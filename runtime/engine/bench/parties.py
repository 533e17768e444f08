"""Who computes: this engine as one rank, transformers, and llama.cpp in a process of its own; the same weights."""

from __future__ import annotations

import gc
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from csps_engine.comm.local import LocalMesh
from csps_engine.core.plan import DecodeRow, PageTable, Place, PrefillJob, StepPlan
from csps_engine.kv.pool import KvPool
from csps_engine.model.llama import Llama
from csps_engine.model.load import load_model
from csps_engine.model.weights import WeightForm
from csps_engine.pipeline.decode import DecodeRunner
from csps_engine.pipeline.prefill import PrefillRunner


class Took(NamedTuple):
    """Seconds of one measurement."""

    wall: float
    cpu: float


class Party(Protocol):
    """One side of a comparison; greedy."""

    name: str

    def prefill(self, prompt: tuple[int, ...]) -> Took:
        """Compute a prompt and the token after it."""
        ...

    def begin(self, prompt: tuple[int, ...], tokens: int) -> int:
        """Prefill what `decode` goes on with, for up to so many tokens; answers the first."""
        ...

    def decode(self, tokens: int) -> Took: ...


class Kept:
    """A sink that keeps the KV of one prompt."""

    def __init__(self) -> None:
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def write(self, layer: int, first_token: int, k: Tensor, v: Tensor) -> None:
        assert first_token == 0
        self.layers[layer] = (k, v)

    def flush(self) -> None:
        """Nothing is under way."""


class _Streaming:
    """A party whose stream is an iterator, timed in this process."""

    _stream: Iterator[int]

    def prefill(self, prompt: tuple[int, ...]) -> Took:
        return timed(lambda: self._first(prompt))

    def begin(self, prompt: tuple[int, ...], tokens: int) -> int:
        self._stream = self._tokens(prompt, tokens)
        return next(self._stream)

    def decode(self, tokens: int) -> Took:
        return timed(lambda: [next(self._stream) for _ in range(tokens)])

    def _first(self, prompt: tuple[int, ...]) -> int:
        raise NotImplementedError

    def _tokens(self, prompt: tuple[int, ...], steps: int) -> Iterator[int]:
        raise NotImplementedError


class Engine(_Streaming):
    """This project's engine: prefill with expanded weights, decode with packed ones, as its ranks on CPUs do."""

    name = "engine"

    def __init__(self, model_file: Path) -> None:
        self._prefill = PrefillRunner(load_model(model_file), LocalMesh())
        self._model: Llama = load_model(model_file, WeightForm(packed=True))

    def _first(self, prompt: tuple[int, ...]) -> int:
        return self._prefill.run(PrefillJob("bench", prompt), Kept()).sampled.token_id

    def _tokens(self, prompt: tuple[int, ...], steps: int) -> Iterator[int]:
        kept = Kept()
        token = self._prefill.run(PrefillJob("bench", prompt), kept).sampled.token_id
        shape = self._model.config.kv_shape("float32")
        slots = -(-(len(prompt) + steps) // shape.page_tokens)
        pool = KvPool(shape, slots)
        for layer, (k, v) in kept.layers.items():
            pool.write(layer, 0, k, v)
        runner, places = DecodeRunner(self._model, LocalMesh(), pool), [Place(0, slot) for slot in range(slots)]
        yield token
        for position in range(len(prompt), len(prompt) + steps):
            row = DecodeRow("bench", 0, token, position)
            token = runner.step(StepPlan((row,)), {"bench": PageTable(places, position)}).sampled["bench"].token_id
            yield token


class Transformers(_Streaming):
    """transformers with scaled_dot_product_attention."""

    name = "transformers"

    def __init__(self, model_file: Path) -> None:
        from transformers import AutoModelForCausalLM  # slow to import: not for --help

        self._model: Any = AutoModelForCausalLM.from_pretrained(
            model_file.parent, gguf_file=model_file.name, dtype=torch.float32, attn_implementation="sdpa"
        ).eval()

    def _first(self, prompt: tuple[int, ...]) -> int:
        return int(self._forward(torch.tensor([prompt])).logits[0, -1].argmax())

    def _tokens(self, prompt: tuple[int, ...], steps: int) -> Iterator[int]:
        out = self._forward(torch.tensor([prompt]))
        token = int(out.logits[0, -1].argmax())
        yield token
        for _ in range(steps):
            out = self._forward(torch.tensor([[token]]), out.past_key_values)
            token = int(out.logits[0, -1].argmax())
            yield token

    def _forward(self, ids: Tensor, cache: Any = None) -> Any:
        with torch.inference_mode():
            return self._model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)


class LlamaCpp:
    """llama.cpp with its defaults, by an interpreter that has llama-cpp-python."""

    name = "llama.cpp"

    def __init__(self, python: Path, model_file: Path, threads: int, context: int) -> None:
        program = Path(__file__).with_name("llama_cpp_party.py")
        command = [str(python), str(program), str(model_file), str(threads), str(context)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, text=True, **pipes)
        self.version: str = self._heard()["version"]

    def prefill(self, prompt: tuple[int, ...]) -> Took:
        return self._took({"task": "prefill", "prompt": prompt})

    def begin(self, prompt: tuple[int, ...], tokens: int) -> int:
        return int(self._ask({"task": "prefill", "prompt": prompt})["tokens"][0])

    def decode(self, tokens: int) -> Took:
        return self._took({"task": "decode", "tokens": tokens})

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _took(self, request: dict[str, Any]) -> Took:
        answer = self._ask(request)
        return Took(answer["wall"], answer["cpu"])

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._heard()

    def _heard(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"llama.cpp ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def timed(work: Callable[[], object]) -> Took:
    """Wall and CPU seconds of `work`."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - wall, time.process_time() - cpu)
