"""A slice of the Mooncake trace served by the engine's ranks and by Sarathi-style ranks of the same number and share.

One run after the other on testbeds of one shape; needs root as bench.emulated does. The ranks of the engine form
prefill groups and a decode pool, and are real processes with their wire; the Sarathi-style ones get their requests by
the fewest tokens ahead, over no wire at all.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import torch

from bench.emulation.network import Link, NetworkError
from bench.emulation.quota import QuotaError
from bench.emulation.testbed import Shape, TestbedError
from bench.mixed.load import Slice, read_slice
from bench.mixed.outcome import table
from bench.mixed.product_rank import parse_groups
from bench.mixed.systems import run_chunked, run_product
from bench.prose import prose
from csps_engine.model.load import load_model

TRACE = Path(__file__).parents[4] / "shared" / "data" / "traces" / "mooncake_conversation.jsonl.gz"


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench:engine -- --mixed", description=__doc__)
    parser.add_argument("--mixed", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, required=True, help="GGUF file")
    data = os.environ.get("CSPS_DATA")
    trace = Path(data) / "traces" / "mooncake_conversation.jsonl.gz" if data else TRACE
    parser.add_argument("--trace", type=Path, default=trace, help="gzip of JSON lines (default: by CSPS_DATA)")
    parser.add_argument("--ranks", type=int, default=8, help="(default %(default)s)")
    parser.add_argument("--groups", default="4,1,1:2", help="prefill groups:pool (default %(default)s)")
    parser.add_argument("--cores", type=float, default=0.15, help="share of a core for each rank (default %(default)s)")
    parser.add_argument("--mbit", type=float, default=400.0, help="of each rank's link (default %(default)s)")
    parser.add_argument("--requests", type=int, default=60, help="(default %(default)s)")
    parser.add_argument("--first", type=int, default=1000, help="row of the trace to begin with (default %(default)s)")
    parser.add_argument("--divide-by", type=int, default=32, help="lengths of the trace (default %(default)s)")
    parser.add_argument("--rate", type=float, default=0.5, help="requests a second (default %(default)s)")
    parser.add_argument("--longest", type=int, default=4096, help="prompts are cut to this (default %(default)s)")
    parser.add_argument("--budget", type=int, default=128, help="tokens of a Sarathi-style step (default %(default)s)")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    if not options.trace.is_file():
        sys.exit(f"--trace {options.trace}: there is no such file")
    try:
        groups = parse_groups(options.groups, options.ranks)
    except ValueError as error:
        sys.exit(str(error))
    part = Slice(options.first, options.requests, options.divide_by, options.rate, options.longest)
    asks = read_slice(options.trace, part)
    text = prose(options.model, max(options.longest, 512))
    shape = Shape(options.ranks, options.cores, Link(options.mbit))
    try:
        with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
            saved = Path(folder) / "model.pt"
            torch.save(load_model(options.model), saved)
            kv_tokens = 3 * options.longest
            worker = ["bench.mixed.chunked_rank", saved, options.model, options.budget, kv_tokens]
            chunked, rate = run_chunked(shape, [str(part) for part in worker], asks, text)
        sys.stderr.write(f"Sarathi-style:\n{table(chunked, chunked)}\n")
        product = run_product(shape, options.model, groups, options.groups, asks, text)
    except (TestbedError, NetworkError, QuotaError) as error:
        sys.exit(str(error))
    prompts = [ask.prompt_tokens for ask in asks]
    offered = sum(prompts) / asks[-1].arrival_s
    sys.stdout.write(
        f"{options.ranks} ranks of {options.cores} core and {options.mbit:g} Mbit/s; {len(asks)} requests of "
        f"{min(prompts)} to {max(prompts)} prompt tokens (mean {sum(prompts) / len(prompts):.0f}), "
        f"{sum(a.output_tokens for a in asks) / len(asks):.0f} output tokens on average, {options.rate:g} a second\n"
        f"offered {offered:.0f} prompt tokens a second: {100 * offered / (options.ranks * rate):.0f} % of what "
        f"{options.ranks} ranks of {rate:.0f} each prefill; prefill groups and pool {options.groups}; "
        f"Sarathi-style budget {options.budget} tokens\n{table(chunked, product)}\n"
    )


if __name__ == "__main__":
    main()
