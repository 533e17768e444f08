"""One rank beside transformers and, where asked for, llama.cpp: prefill and decode with the same weights and threads.

The parties take turns within one run, so that other load on the machine falls on all; the ratio of medians is the
figure to keep, the rates depend on the machine. How soon a rank is ready and what memory it takes is told as well.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.parties import Engine, LlamaCpp, Party, Took, Transformers
from bench.prose import prose
from bench.standing_start import NEW_TOKENS, measure_starts


@dataclass
class Series:
    """Repeats of one task by all parties; the engine comes first."""

    task: str
    tokens: int
    took: dict[str, list[Took]]

    def rates(self, party: str, clock: str) -> list[float]:
        """Tokens per second of each repeat."""
        return [self.tokens / getattr(took, clock) for took in self.took[party]]

    def summary(self) -> dict[str, Any]:
        """By clock: median rates of all parties, and the engine's over each other's with the repeats' extremes."""
        engine, *others = self.took
        answer: dict[str, Any] = {"task": self.task, "tokens": self.tokens, "repeats": len(self.took[engine])}
        for clock in ("wall", "cpu"):
            ours = self.rates(engine, clock)
            ratios = {}
            for other in others:
                theirs = self.rates(other, clock)
                each = [a / b for a, b in zip(ours, theirs, strict=True)]
                ratios[other] = [statistics.median(ours) / statistics.median(theirs), min(each), max(each)]
            rates = {party: statistics.median(self.rates(party, clock)) for party in self.took}
            answer[clock] = {"rates": rates, "ratios": ratios}
        return answer


def take_turns(parties: Sequence[Party], work: Callable[[Party], Took], repeats: int) -> dict[str, list[Took]]:
    took: dict[str, list[Took]] = {party.name: [] for party in parties}
    for _ in range(repeats):
        for party in parties:
            took[party.name].append(work(party))
    return took


def measure_decode(parties: Sequence[Party], prompt: tuple[int, ...], tokens: int, repeats: int) -> Series:
    first = {party.name: party.begin(prompt, tokens * repeats) for party in parties}
    # llama.cpp rounds activations to 8 bits, so it alone may differ.
    if first.get("transformers", first["engine"]) != first["engine"]:
        sys.exit("the engine and transformers disagree about the first token: they do not run the same model")
    took = take_turns(parties, lambda party: party.decode(tokens), repeats)
    return Series(f"decode at {len(prompt)}", tokens, took)


def table(rows: list[dict[str, Any]]) -> str:
    """One line a task and party."""
    lines = [f"{'':34}{'tokens per CPU-second':>24}{'engine over it':>16}{'lowest-highest':>16}{'by wall clock':>16}"]
    for row in rows:
        for party, rate in row["cpu"]["rates"].items():
            line = f"{row['task'] + ', ' + party:34}{rate:24.1f}"
            if party in row["cpu"]["ratios"]:
                ratio, low, high = row["cpu"]["ratios"][party]
                line += f"{ratio:16.2f}{f'{low:.2f}-{high:.2f}':>16}{row['wall']['ratios'][party][0]:16.2f}"
            lines.append(line)
    return "\n".join(lines)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="one_rank.py", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="GGUF file")
    parser.add_argument("--prefill", default="2048,8192", help="prompt lengths in tokens (default %(default)s)")
    parser.add_argument("--decode-at", type=int, default=2048, help="context of the decode (default %(default)s)")
    parser.add_argument("--decode-tokens", type=int, default=24, help="tokens per repeat (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each party (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads of every party (default %(default)s)")
    parser.add_argument("--llama-cpp", type=Path, help="an interpreter that has llama-cpp-python, to compare with it")
    parser.add_argument("--without-transformers", action="store_true", help="leave transformers out")
    parser.add_argument("--without-start", action="store_true", help="start no rank")
    parser.add_argument(
        "--served",
        type=int,
        default=2048,
        help=f"prompt that the started ranks serve, up to {8192 - NEW_TOKENS} tokens, 0: none (default %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser.parse_args()


def parties_of(options: argparse.Namespace, context: int) -> list[Party]:
    parties: list[Party] = [Engine(options.model)]
    if not options.without_transformers:
        parties.append(Transformers(options.model))
    if options.llama_cpp is not None:
        parties.append(LlamaCpp(options.llama_cpp, options.model, options.threads, context))
    return parties


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    lengths = [int(part) for part in options.prefill.split(",") if part]
    ahead = options.decode_at + options.decode_tokens * options.repeats + 1
    text = prose(options.model, max([*lengths, options.decode_at, options.served, 128]))
    starts = [] if options.without_start else measure_starts(options.model, text[: options.served])
    parties = parties_of(options, max([*lengths, ahead]))
    for party in parties:
        party.prefill(tuple(text[:128]))
    series = []
    for tokens in lengths:
        prompt = tuple(text[:tokens])
        took = take_turns(parties, lambda party, prompt=prompt: party.prefill(prompt), options.repeats)
        series.append(Series(f"prefill {tokens}", tokens, took))
        # A run takes long on a slow machine; what was measured is told at once.
        sys.stderr.write(f"{table([series[-1].summary()])}\n")
    series.append(measure_decode(parties, tuple(text[: options.decode_at]), options.decode_tokens, options.repeats))
    rows = [one.summary() for one in series]
    for party in parties:
        if isinstance(party, LlamaCpp):
            party.close()
    if options.json:
        told = {"threads": options.threads, "torch": torch.__version__, "rows": rows}
        sys.stdout.write(json.dumps({**told, "starts": [start.told() for start in starts]}) + "\n")
        return
    others = [f"llama-cpp-python {party.version}" for party in parties if isinstance(party, LlamaCpp)]
    about = ", ".join([f"torch {torch.__version__}", *others, f"{options.threads} thread(s)"])
    sys.stdout.write("\n".join([about, table(rows), *(start.line() for start in starts)]) + "\n")


if __name__ == "__main__":
    main()
