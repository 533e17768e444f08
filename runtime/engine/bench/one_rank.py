"""One rank beside transformers: prefill and decode throughput with the same weights and threads.

The two take turns within one run, so that other load on the machine falls on both; the ratio of medians is the
figure to keep, the rates depend on the machine.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from csps_engine.comm.local import LocalMesh
from csps_engine.core.plan import DecodeRow, PageTable, Place, PrefillJob, StepPlan
from csps_engine.kv.pool import KvPool
from csps_engine.model.llama import Llama
from csps_engine.model.load import load_model
from csps_engine.pipeline.decode import DecodeRunner
from csps_engine.pipeline.prefill import PrefillRunner


class Took(NamedTuple):
    """Seconds of one measurement."""

    wall: float
    cpu: float


@dataclass
class Series:
    """Repeats of one task by both parties."""

    task: str
    tokens: int
    engine: list[Took] = field(default_factory=list)
    transformers: list[Took] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Median tokens per second and engine-to-transformers ratios, by wall clock and by CPU time."""
        answer: dict[str, Any] = {"task": self.task, "tokens": self.tokens, "repeats": len(self.engine)}
        for clock in ("wall", "cpu"):
            ours, theirs = (
                self.tokens / statistics.median(getattr(took, clock) for took in side)
                for side in (self.engine, self.transformers)
            )
            answer[clock] = {"engine": ours, "transformers": theirs, "ratio": ours / theirs}
        return answer


class Kept:
    """A sink that keeps the KV of one prompt."""

    def __init__(self) -> None:
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def write(self, layer: int, first_token: int, k: Tensor, v: Tensor) -> None:
        assert first_token == 0
        self.layers[layer] = (k, v)

    def flush(self) -> None:
        """Nothing is under way."""


class Engine:
    """This project's engine as one rank."""

    def __init__(self, model: Llama) -> None:
        self._model = model
        self._prefill = PrefillRunner(model, LocalMesh())

    def prefill(self, prompt: tuple[int, ...]) -> int:
        return self._prefill.run(PrefillJob("bench", prompt), Kept()).sampled.token_id

    def decoder(self, prompt: tuple[int, ...], steps: int) -> Iterator[int]:
        """Tokens after the prompt's first; the prefill happens before the first is asked for."""
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


class Transformers:
    """transformers with scaled_dot_product_attention."""

    def __init__(self, model_file: Path) -> None:
        from transformers import AutoModelForCausalLM  # slow to import: not for --help

        self._model: Any = AutoModelForCausalLM.from_pretrained(
            model_file.parent, gguf_file=model_file.name, dtype=torch.float32, attn_implementation="sdpa"
        ).eval()

    def prefill(self, prompt: tuple[int, ...]) -> int:
        return int(self._forward(torch.tensor([prompt])).logits[0, -1].argmax())

    def decoder(self, prompt: tuple[int, ...], steps: int) -> Iterator[int]:
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


def timed(work: Callable[[], object]) -> Took:
    """Wall and CPU seconds of `work`."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - wall, time.process_time() - cpu)


def measure_prefill(engine: Engine, other: Transformers, prompt: tuple[int, ...], repeats: int) -> Series:
    series = Series(f"prefill {len(prompt)}", len(prompt))
    for _ in range(repeats):
        series.engine.append(timed(lambda: engine.prefill(prompt)))
        series.transformers.append(timed(lambda: other.prefill(prompt)))
    return series


def measure_decode(engine: Engine, other: Transformers, prompt: tuple[int, ...], tokens: int, repeats: int) -> Series:
    series = Series(f"decode at {len(prompt)}", tokens)
    ours = engine.decoder(prompt, tokens * repeats)
    theirs = other.decoder(prompt, tokens * repeats)
    if next(ours) != next(theirs):
        sys.exit("the two disagree about the first token: they do not run the same model")
    for _ in range(repeats):
        series.engine.append(timed(lambda: [next(ours) for _ in range(tokens)]))
        series.transformers.append(timed(lambda: [next(theirs) for _ in range(tokens)]))
    return series


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        f"{'':16}{'tokens per second of wall clock':>44}{'tokens per CPU-second':>44}",
        f"{'':16}" + f"{'engine':>16}{'transformers':>16}{'ratio':>12}" * 2,
    ]
    for row in rows:
        figures = [
            f"{row[c]['engine']:16.1f}{row[c]['transformers']:16.1f}{row[c]['ratio']:12.2f}" for c in ("wall", "cpu")
        ]
        lines.append(f"{row['task']:16}" + "".join(figures))
    return "\n".join(lines)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="one_rank.py", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="GGUF file")
    parser.add_argument("--prefill", default="2048,8192", help="prompt lengths in tokens (default %(default)s)")
    parser.add_argument("--decode-at", type=int, default=2048, help="context of the decode (default %(default)s)")
    parser.add_argument("--decode-tokens", type=int, default=24, help="tokens per repeat (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each party (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads of both (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    model = load_model(options.model)
    engine, other = Engine(model), Transformers(options.model)
    draw = torch.Generator().manual_seed(0)

    def prompt(tokens: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, model.config.vocab, (tokens,), generator=draw).tolist())

    warm = prompt(128)
    engine.prefill(warm)
    other.prefill(warm)
    series = [measure_prefill(engine, other, prompt(int(n)), options.repeats) for n in options.prefill.split(",")]
    decode_prompt = prompt(options.decode_at)
    series.append(measure_decode(engine, other, decode_prompt, options.decode_tokens, options.repeats))
    rows = [one.summary() for one in series]
    if options.json:
        sys.stdout.write(json.dumps({"threads": options.threads, "torch": torch.__version__, "rows": rows}) + "\n")
    else:
        sys.stdout.write(f"torch {torch.__version__}, {options.threads} thread(s), fp32\n{table(rows)}\n")


if __name__ == "__main__":
    main()
