"""What decode that chooses blocks reads, covers and takes, beside decode that reads all, on prose and one rank.

    python -m bench.decode_choice --model model.gguf --tokens 4032 8128 --percent 5 20 50

Every setting is fed the tokens of exact decode, so that all read the same KV; times are of the processor, the median
over the steps of several rounds in turn.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.prose import prose
from csps_engine.comm.local import LocalMesh
from csps_engine.core.plan import PAGE_TOKENS, ChoiceReport, DecodeRow, PageTable, Place, PrefillJob, StepPlan
from csps_engine.csa.decode_settings import DecodeChoice
from csps_engine.csa.page_digests import PageDigests
from csps_engine.kv.pool import KvPool
from csps_engine.model.load import load_model
from csps_engine.model.weights import WeightForm
from csps_engine.pipeline.chosen_pages import Reader
from csps_engine.pipeline.decode import DecodeRunner
from csps_engine.pipeline.prefill import PrefillRunner

STEPS, ROUNDS, WARM_UP = 20, 3, 3


class PoolSink:
    """Page p of the prompt in slot p."""

    def __init__(self, pool: KvPool) -> None:
        self._pool = pool

    def write(self, layer: int, first_token: int, k: Tensor, v: Tensor) -> None:
        self._pool.write(layer, first_token // PAGE_TOKENS, k, v)

    def flush(self) -> None:
        """Nothing is under way."""


@dataclass
class Party:
    """One setting and what came of it."""

    runner: DecodeRunner
    seconds: list[float] = field(default_factory=list)
    reports: list[ChoiceReport] = field(default_factory=list)
    same: int = 0


def measure(
    model_file: Path, tokens: int, percents: Sequence[int], steps: int = STEPS, rounds: int = ROUNDS
) -> dict[str, Party]:
    """By name of the setting; `exact` first."""
    model, mesh = load_model(model_file, WeightForm(packed=True)), LocalMesh()
    pages = (tokens + steps) // PAGE_TOKENS + 1
    pool, places = KvPool(model.config.kv_shape("float32"), pages), [Place(0, slot) for slot in range(pages)]
    job = PrefillJob("r", tuple(prose(model_file, tokens)))
    stream = [PrefillRunner(load_model(model_file), mesh).run(job, PoolSink(pool)).sampled.token_id]
    parties = {"exact": Party(DecodeRunner(model, mesh, pool))}
    digests = PageDigests(pool, DecodeChoice().block_tokens)
    for percent in percents:
        rule = DecodeChoice(share=percent / 100, min_tokens=1)
        parties[f"{percent} %"] = Party(DecodeRunner(model, mesh, pool, Reader(pool, digests, rule)))

    def step(party: Party, at: int) -> int:
        row, table = DecodeRow("r", 0, stream[at], tokens + at), PageTable(places, tokens + at)
        began = time.process_time()
        result = party.runner.step(StepPlan((row,)), {"r": table})
        if at >= WARM_UP:
            party.seconds.append(time.process_time() - began)
        party.reports += result.chosen.values()
        return result.sampled["r"].token_id

    for at in range(steps):
        stream.append(step(parties["exact"], at))
    for _ in range(rounds):
        for party in parties.values():
            party.same += sum(step(party, at) == stream[at + 1] for at in range(steps))
    return parties


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--tokens", type=int, nargs="+", default=[4032, 8128])
    parser.add_argument("--percent", type=int, nargs="+", default=[5, 20, 50, 100])
    asked: Any = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sys.stdout.write("| tokens | threshold | keys read | covered | left at most | same tokens | step, of exact |\n")
    sys.stdout.write("| --- | --- | --- | --- | --- | --- | --- |\n")
    for tokens in asked.tokens:
        parties = measure(asked.model, tokens, asked.percent)
        exact = statistics.median(parties["exact"].seconds)
        for name, party in parties.items():
            told, ratio = party.reports, statistics.median(party.seconds) / exact
            read, skipped = sum(r.read_tokens for r in told), sum(r.skipped_tokens for r in told)
            mean = [
                statistics.mean([getattr(r, what) for r in told] or [float(what == "covered")])
                for what in ("covered", "left_bound")
            ]
            cells = (tokens, name, f"{read / (read + skipped) if told else 1:.3f}", f"{mean[0]:.3f}", f"{mean[1]:.3f}")
            same = f"{party.same / (ROUNDS * STEPS):.2f}"
            sys.stdout.write(f"| {' | '.join(map(str, cells))} | {same} | {ratio:.2f} |\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
