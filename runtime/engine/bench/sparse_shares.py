"""What sparse attention leaves of the exact one, by length of prompt: the shares that `pipeline.sparse_cost` assumes.

    python -m bench.sparse_shares --model model.gguf --tokens 2048 4096 --ranks 4

Of prose, in all layers and with default settings. Rows that move are counted; attention is taken in processor time of
each rank's thread, summed over the ranks: what it takes to attend to own keys, and to those of other ranks, beside the
exact form of the same prompt. Two rounds in turn, of which the second counts.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from bench.accuracy.trial import on_ranks
from bench.emulation.tasks import Dropped
from bench.prose import prose
from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import AttentionKind, PrefillJob, PrefillResult
from csps_engine.csa.settings import CsaSettings
from csps_engine.model.load import load_model
from csps_engine.pipeline import csa_attention
from csps_engine.pipeline.kv_gather import KvGatherAttention
from csps_engine.pipeline.prefill import PrefillRunner
from csps_engine.pipeline.sparse_cost import Shares

ROUNDS = 2


class _Clock:
    """Processor seconds of the calling threads, by what they were spent on."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._lock = threading.Lock()

    def timed(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            began = time.thread_time()
            answer = work(*arguments)
            with self._lock:
                self.seconds[name] += time.thread_time() - began
            return answer

        return call

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While it lasts, attention of both forms is timed in its parts."""
        places: list[tuple[Any, str, str]] = [
            (KvGatherAttention, "_local", "own"),
            (KvGatherAttention, "_remote", "fetched"),
            (csa_attention, "attend_own", "own"),
            (csa_attention, "join", "fetched"),
            # It joins too, for those who vote; that is part of choosing, which ranks measure themselves.
            (csa_attention.CsaAttention, "_holding", "voting"),
        ]
        before = [getattr(owner, name) for owner, name, _ in places]
        for (owner, name, part), work in zip(places, before, strict=True):
            setattr(owner, name, self.timed(part, work))
        try:
            yield
        finally:
            for (owner, name, _), work in zip(places, before, strict=True):
                setattr(owner, name, work)


def measure(model_file: Path, tokens: int, ranks: int, settings: CsaSettings) -> Shares:
    """Of one prompt."""
    model, ids = load_model(model_file), tuple(prose(model_file, tokens))
    found: dict[AttentionKind, tuple[Counter[str], list[PrefillResult]]] = {}
    kinds: tuple[AttentionKind, ...] = ("dense", "sparse")
    for kind in kinds * ROUNDS:
        job, clock = PrefillJob("prompt", ids, mode="kvGather", attention=kind), _Clock()

        def work(mesh: Mesh, job: PrefillJob = job) -> PrefillResult:
            return PrefillRunner(model, mesh, settings).run(job, Dropped())

        with clock.listening():
            found[kind] = clock.seconds, on_ranks(ranks, work)
    (exact, _), (sparse, results) = found["dense"], found["sparse"]
    reports = [result.sparse for result in results if result.sparse is not None]
    fetched = sum(report.fetched_rows for report in reports) / sum(report.available_rows for report in reports)
    read = (sparse["fetched"] - sparse["voting"]) / exact["fetched"]
    return Shares(fetched, sparse["own"] / exact["own"], read)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a GGUF file or a folder of safetensors")
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 4096], help="lengths of prompts")
    parser.add_argument("--ranks", type=int, default=4)
    asked: Any = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sys.stdout.write("| tokens | rows that move | attention to own keys | to fetched keys |\n")
    sys.stdout.write("| --- | --- | --- | --- |\n")
    for tokens in asked.tokens:
        cells = (f"{share:.2f}" for share in measure(asked.model, tokens, asked.ranks, CsaSettings()))
        sys.stdout.write(f"| {tokens} | {' | '.join(cells)} |\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
