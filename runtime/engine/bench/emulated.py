"""The engine and its baselines on emulated ranks: each has a share of a core and a shaped link of its own.

Cases of one suite take turns, so that what else happens on the machine falls on all; the ratios are the figures to
keep. Needs root, iproute2 and a cgroup CPU controller. Nothing is left behind.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from pathlib import Path

import torch

from bench.emulation.network import Link, NetworkError
from bench.emulation.quota import QuotaError
from bench.emulation.report import Measured, table
from bench.emulation.suites import SUITES, Case, Options
from bench.emulation.testbed import Shape, Testbed, TestbedError
from bench.prose import prose
from csps_engine.model.llama import Llama
from csps_engine.model.load import load_model

RANK = "bench.emulation.rank"
CASE_TIMEOUT_S = 540


def measure(testbed: Testbed, cases: list[Case], prompt: list[int], repeats: int) -> list[Measured]:
    """`repeats` rounds over all cases."""
    measured = [Measured(case) for case in cases]
    for _ in range(repeats):
        for one in measured:
            request = dict(one.case.request)
            if "tokens" in request:
                request["prompt"] = prompt[: request.pop("tokens")]
            answers = testbed.ask(one.case.ranks, request, CASE_TIMEOUT_S)
            one.answers.append(answers)
            sys.stderr.write(f"  {one.case.name}: {one.seconds[-1]:.3f} s\n")
    return measured


def shallow(model: Llama, layers: int) -> Llama:
    """The model's first layers."""
    config = dataclasses.replace(model.config, layers=layers)
    return Llama(config, dataclasses.replace(model.weights, layers=model.weights.layers[:layers]))


def _wanted(case: Case, only: str) -> bool:
    return any(part in case.name for part in only.split(","))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench:engine -- --emulated", description=__doc__)
    parser.add_argument("--emulated", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, required=True, help="GGUF file")
    parser.add_argument("--suite", choices=sorted(SUITES), default="prefill", help="(default %(default)s)")
    parser.add_argument("--ranks", type=int, default=4, help="(default %(default)s)")
    parser.add_argument("--cores", type=float, default=0.2, help="share of a core for each rank (default %(default)s)")
    parser.add_argument("--mbit", type=float, default=400.0, help="of each rank's link (default %(default)s)")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="of each rank's link (default %(default)s)")
    parser.add_argument("--tokens", type=int, default=2048, help="of the prompt or context (default %(default)s)")
    parser.add_argument("--layers", type=int, default=0, help="keep the first layers only (0: all)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds over all cases (default %(default)s)")
    parser.add_argument("--only", default="", help="keep cases whose names hold one of these, separated by commas")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    model = load_model(options.model)
    model = shallow(model, options.layers or model.config.layers)
    chosen = Options(options.ranks, options.tokens, model.config, options.repeats)
    cases = [case for case in SUITES[options.suite](chosen) if _wanted(case, options.only)]
    if not cases:
        sys.exit(f"--only {options.only}: suite {options.suite} has no such case")
    prompt = prose(options.model, max(options.tokens, 256))
    shape = Shape(options.ranks, options.cores, Link(options.mbit, options.delay_ms))
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        saved = Path(folder) / "model.pt"
        torch.save(model, saved)
        try:
            with Testbed(shape, [RANK, str(saved)]) as testbed:
                measured = measure(testbed, cases, prompt, options.repeats)
        except (TestbedError, NetworkError, QuotaError) as error:
            sys.exit(str(error))
    if options.json:
        rows = [{"case": one.case.name, "answers": one.answers} for one in measured]
        sys.stdout.write(json.dumps({"shape": dataclasses.asdict(shape), "rows": rows}) + "\n")
        return
    told = f"{options.ranks} ranks of {options.cores} core and {options.mbit:g} Mbit/s, delay {options.delay_ms:g} ms"
    sys.stdout.write(f"{told}; {model.config.layers} layers; {options.repeats} repeats\n{table(measured)}\n")


if __name__ == "__main__":
    main()
