"""What sparse attention costs in accuracy: questions about long prompts, answered from dense and from sparse KV.

Prints one table: score of each task (docs/guides/sparse-attention.md), and what sparse attention covered and moved.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import mean

import torch
from tokenizers import Tokenizer

from bench.accuracy.haystack import TASKS, haystack
from bench.accuracy.trial import Trial, run_trial
from csps_engine.csa.profile import read_profile
from csps_engine.csa.settings import CsaSettings
from csps_engine.model.descriptor import build_descriptor
from csps_engine.model.load import load_model


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="npm run bench:accuracy --", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="GGUF file or folder")
    parser.add_argument("--lengths", default="2048:4,4096:3,8192:2", help="tokens:prompts, separated by commas")
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--profile", type=Path, help="profile that `csps_engine calibrate` wrote")
    return parser.parse_args()


HEADINGS = [
    *("tokens", "attention", *TASKS, "all", "mass covered, mean / 1st percentile"),
    *("keys fetched", "their bytes, of 16-bit KV", "all bytes, of dense's"),
]


def rows(trials: list[Trial]) -> list[str]:
    """Chance, dense and sparse, for prompts of one length."""
    moved = [trial.moved for trial in trials]
    mass = f"{mean(m.mass_mean for m in moved):.3f} / {mean(m.mass_p01 for m in moved):.3f}"
    share = [mass, *(f"{mean(getattr(m, field) for m in moved):.3f}" for field in ("keys", "bytes", "wire"))]
    lines = []
    for name in ("chance", "dense", "sparse"):
        by_task = [[score for trial in trials for score in trial.scores(task, name)] for task in TASKS]
        scores = [*by_task, [score for scores in by_task for score in scores]]
        cells = [f"{100 * mean(each):.1f}" for each in scores]
        lines.append(line([str(trials[0].tokens), name, *cells, *(share if name == "sparse" else [""] * len(share))]))
    return lines


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def main() -> int:
    asked = arguments()
    torch.set_num_threads(1)
    model = load_model(asked.model)
    described = build_descriptor(asked.model, "model", model.config.context, "kv")
    tokenizer = Tokenizer.from_str(json.dumps(described.tokenizer))
    settings = (
        CsaSettings() if asked.profile is None else read_profile(asked.profile, model.config).apply(CsaSettings())
    )

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    sys.stdout.write(line(HEADINGS) + line(["---"] * len(HEADINGS)))
    for part in asked.lengths.split(","):
        tokens, prompts = (int(number) for number in part.split(":"))
        trials: list[Trial] = []
        for seed in range(prompts):
            trials.append(run_trial(model, haystack(tokens, seed, encode), asked.ranks, settings))
            sys.stderr.write(f"prompt {seed + 1} of {prompts}\n{''.join(rows(trials[-1:]))}")
        sys.stdout.write("".join(rows(trials)))
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
