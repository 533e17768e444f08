"""How well blocks of keys can be chosen by their digests, on small networks that learned to recall.

Trains one network a seed (a minute or two each on a free core) and prints three tables: a block's digest and who
decides in decode, and the vote of a block of queries in prefill. Each cell is a mean over the seeds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import torch

from bench.recall import choices, scores
from bench.recall.judge import Choose, Verdict, judge
from bench.recall.network import HEAD, HEADS, RecallNetwork
from bench.recall.sheets import Sheets, draw_sheets
from bench.recall.train import STAGES, accuracy, train

SIZE = HEAD
DIGESTS = (
    ("min/max, fp32", 8 * SIZE, scores.by_range),
    ("min/max, int8 rounded outward (the engine's)", 2 * SIZE + 4, scores.by_engine_range),
    ("min/max, int4 rounded outward", SIZE + 4, scores.by_outward_range(4)),
    ("expected weight, of the engine's digest", 2 * SIZE + 4, scores.by_engine_estimate),
    ("mean key, bf16", 2 * SIZE, scores.by_mean),
    ("oracle (true mass)", 0, scores.by_mass),
)
DECIDERS: tuple[tuple[str, Choose], ...] = (
    ("each rank its own top-1", choices.best_of_each_rank),
    ("global top-3, all scores exchanged", choices.best(scores.by_engine_range, 3)),
    ("bound >= global max - ln(1/0.2), one float exchanged", choices.near_the_maximum(0.2)),
    ("the same with 0.1", choices.near_the_maximum(0.1)),
    ("the same with 0.05", choices.near_the_maximum(0.05)),
)
VOTES = (
    ("oracle (true mass)", choices.true_mass),
    ("mean squared expected share (the engine's order)", choices.squared_share),
    ("max over queries of the min/max bound, over what the query has", choices.highest_gain),
    ("max over queries of the min/max bound", choices.highest_bound),
    ("max over queries of q.mean(K)", choices.highest_mean_key),
    ("mean(q).mean(K)", choices.mean_by_mean),
    ("anti-diagonal sums", choices.anti_diagonals),
)
DECODE_BUDGETS, PREFILL_BUDGETS = (2, 3, 4), (4, 6, 8)
_SHEETS = 32


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.recall", description=__doc__)
    parser.add_argument("--seeds", default="0,1,2", help="one network each")
    parser.add_argument("--keep", type=Path, help="folder of trained networks: read where there, else written")
    parser.add_argument("--most-steps", type=int, default=4000, help="steps of a stage of training, at most")
    return parser.parse_args()


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    sys.stdout.write("".join(map(line, (headings, ["---"] * len(headings), *rows))) + "\n")
    sys.stdout.flush()


def figure(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def three(verdicts: Sequence[Verdict]) -> str:
    """Accuracy / recall / error; the range of accuracy over seeds in brackets."""
    accuracies = [verdict.accuracy for verdict in verdicts]
    spread = f" ({figure(min(accuracies))}-{figure(max(accuracies))})"
    return f"{figure(mean(accuracies))}{spread} / " + " / ".join(
        figure(mean(getattr(verdict, field) for verdict in verdicts)) for field in ("recall", "error")
    )


def progress(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def main() -> int:
    asked = arguments()
    torch.set_num_threads(1)
    networks: list[RecallNetwork] = []
    for seed in map(int, asked.seeds.split(",")):
        networks.append(trained(seed, asked))
    blocks, _, question_blocks = STAGES[-1]
    sheets = draw_sheets(_SHEETS, blocks, question_blocks, torch.Generator().manual_seed(10_000))
    report(networks, sheets, blocks)
    return 0


def trained(seed: int, asked: argparse.Namespace) -> RecallNetwork:
    kept = None if asked.keep is None else asked.keep / f"recall-{seed}.pt"
    if kept is not None and kept.exists():
        network = RecallNetwork()
        network.load_state_dict(torch.load(kept, weights_only=True))
        return network
    begin = time.process_time()
    network = train(seed, asked.most_steps, progress)
    progress(f"seed {seed}: learned in {time.process_time() - begin:.0f} s of a core")
    if kept is not None:
        torch.save(network.state_dict(), kept)
    return network


def report(networks: Sequence[RecallNetwork], sheets: Sheets, blocks: int) -> None:
    """The tables."""

    def verdicts(choose: Choose) -> list[Verdict]:
        return [judge(network, sheets, choose) for network in networks]

    dense = ", ".join(figure(accuracy(network, sheets)) for network in networks)
    sys.stdout.write(f"Dense accuracy by seed: {dense}; {HEADS} heads of {SIZE}, {blocks} blocks of context.\n\n")
    table(
        ["decode, digest of a block", "bytes per block and KV head", *(f"budget {b}" for b in DECODE_BUDGETS)],
        [
            [name, str(size or "-"), *(three(verdicts(choices.best(score, b))) for b in DECODE_BUDGETS)]
            for name, size, score in DIGESTS
        ],
    )
    rows = []
    for name, choose in DECIDERS:
        found = verdicts(choose)
        rows.append([name, f"{mean(verdict.blocks for verdict in found):.2f}", three(found)])
    table([f"who decides in decode ({choices.RANKS} ranks)", "blocks read", "accuracy / recall / error"], rows)
    table(
        ["prefill, one choice per query block", *(f"budget {b}" for b in PREFILL_BUDGETS)],
        [
            [name, *(three(verdicts(choices.one_choice_a_query_block(vote, b))) for b in PREFILL_BUDGETS)]
            for name, vote in VOTES
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
