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
from bench.mixed.shallow import write_shallow
from bench.mixed.systems import Served, run_chunked, run_product
from bench.prose import prose
from csps_engine.model.load import load_model

TRACE = Path("traces") / "mooncake_conversation.jsonl.gz"
KV_PROMPTS = 3
"""So many of the longest prompts fit on each Sarathi-style rank; the pool gets the KV of all of them together."""
CHECKOUT = Path(__file__).parents[4]


def data_folder() -> Path:
    """By CSPS_DATA, else beside the checkout."""
    named = os.environ.get("CSPS_DATA")
    return Path(named) if named else CHECKOUT.parent / "shared" / "data"


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench:engine -- --mixed", description=__doc__)
    parser.add_argument("--mixed", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, required=True, help="GGUF file")
    parser.add_argument(
        "--trace", type=Path, default=data_folder() / TRACE, help="gzip of JSON lines (default: %(default)s)"
    )
    parser.add_argument(
        "--layers", type=int, default=6, help="keep the first layers only, 0: all (default %(default)s)"
    )
    parser.add_argument("--ranks", type=int, default=8, help="(default %(default)s)")
    parser.add_argument("--groups", default="4,1,1:2", help="prefill groups:pool (default %(default)s)")
    parser.add_argument("--cores", type=float, default=0.15, help="share of a core for each rank (default %(default)s)")
    parser.add_argument("--mbit", type=float, default=400.0, help="of each rank's link (default %(default)s)")
    parser.add_argument("--requests", type=int, default=60, help="(default %(default)s)")
    parser.add_argument("--first", type=int, default=1000, help="row of the trace to begin with (default %(default)s)")
    parser.add_argument("--divide-by", type=int, default=32, help="lengths of the trace (default %(default)s)")
    parser.add_argument("--rate", type=float, default=0.5, help="requests a second (default %(default)s)")
    parser.add_argument("--longest", type=int, default=4096, help="prompts are cut to this (default %(default)s)")
    parser.add_argument("--logs", type=Path, help="keep the logs of the engine's ranks in this folder")
    parser.add_argument("--budget", type=int, default=128, help="tokens of a Sarathi-style step (default %(default)s)")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    if not options.trace.is_file():
        sys.exit(f"--trace {options.trace}: there is no such file")
    try:
        groups = parse_groups(options.groups)
    except ValueError as error:
        sys.exit(str(error))
    if sum(group.ranks for group in groups) != options.ranks:
        sys.exit(f"--groups {options.groups}: the sizes must add up to {options.ranks} ranks")
    part = Slice(options.first, options.requests, options.divide_by, options.rate, options.longest)
    asks = read_slice(options.trace, part)
    text = prose(options.model, max(options.longest, 512))
    shape = Shape(options.ranks, options.cores, Link(options.mbit))
    try:
        with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
            model_file, saved = options.model, Path(folder) / "model.pt"
            if options.layers:
                model_file = Path(folder) / f"first-{options.layers}.gguf"
                write_shallow(options.model, model_file, options.layers)
            model = load_model(model_file)
            torch.save(model, saved)
            kv_tokens = KV_PROMPTS * options.longest
            worker = ["bench.mixed.chunked_rank", saved, model_file, options.budget, kv_tokens]
            chunked, rate = run_chunked(shape, [str(part) for part in worker], asks, text)
            sys.stderr.write(f"Sarathi-style:\n{table(chunked, chunked)}\n")
            kv_shape = model.config.kv_shape("float32")
            kv_bytes = (
                options.ranks * kv_tokens * kv_shape.rank_page_bytes() // kv_shape.page_tokens // groups[-1].ranks
            )
            served = Served(model_file, groups, options.groups, kv_bytes)
            model_layers = model.config.layers
            del model
            product = run_product(shape, served, asks, text, options.logs)
    except (TestbedError, NetworkError, QuotaError) as error:
        sys.exit(str(error))
    prompts = [ask.prompt_tokens for ask in asks]
    offered = sum(prompts) / asks[-1].arrival_s
    sys.stdout.write(
        f"{model_layers} layers; {options.ranks} ranks of {options.cores} core and {options.mbit:g} Mbit/s; "
        f"{len(asks)} requests of "
        f"{min(prompts)} to {max(prompts)} prompt tokens (mean {sum(prompts) / len(prompts):.0f}), "
        f"{sum(a.output_tokens for a in asks) / len(asks):.0f} output tokens on average, {options.rate:g} a second\n"
        f"offered {offered:.0f} prompt tokens a second: {100 * offered / (options.ranks * rate):.0f} % of what "
        f"{options.ranks} ranks of {rate:.0f} each prefill; prefill groups and pool {options.groups}; "
        f"Sarathi-style budget {options.budget} tokens\n{table(chunked, product)}\n"
    )


if __name__ == "__main__":
    main()
