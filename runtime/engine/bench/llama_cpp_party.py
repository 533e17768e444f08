"""llama.cpp as a program: reads what to do as lines of JSON, and answers each with its seconds as one.

Run by the interpreter that has llama-cpp-python, which is not the engine's: only it and numpy are imported here.

python llama_cpp_party.py MODEL THREADS CONTEXT
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import llama_cpp
import numpy as np


class Party:
    """One context of llama.cpp, greedy; its own defaults otherwise."""

    def __init__(self, model: str, threads: int, context: int) -> None:
        counts = {"n_threads": threads, "n_threads_batch": threads, "n_ctx": context}
        self._llama = llama_cpp.Llama(model, n_gpu_layers=0, verbose=False, **counts)
        self._token = 0

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """`prefill` begins a stream, `decode` goes on with it."""
        wall, cpu = time.perf_counter(), time.process_time()
        if request["task"] == "prefill":
            self._llama.reset()
            tokens = [self._next(request["prompt"])]
        else:
            tokens = [self._next([self._token]) for _ in range(request["tokens"])]
        return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "tokens": tokens}

    def _next(self, tokens: list[int]) -> int:
        """The likeliest token after these and what went before."""
        self._llama.eval(tokens)
        logits = llama_cpp.llama_get_logits_ith(self._llama.ctx, -1)
        self._token = int(np.ctypeslib.as_array(logits, shape=(self._llama.n_vocab(),)).argmax())
        return self._token


def main() -> None:
    model, threads, context = sys.argv[1:]
    party = Party(model, int(threads), int(context))
    _say({"version": llama_cpp.__version__})
    for line in sys.stdin:
        _say(party.answer(json.loads(line)))


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
