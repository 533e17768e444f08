"""The real small model on real text: what the default settings cover, skip and change.

The measured numbers go into the test report; the floor of quality and the ceiling of bytes are asserted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics

import pytest
from prompt_kv import KeptKv, RecordingLlama
from rank_threads import on_ranks
from tokenizers import Tokenizer
from torch import Tensor

from csps_engine.core.plan import AttentionKind, PrefillJob, PrefillResult
from csps_engine.csa.settings import CsaSettings
from csps_engine.model.descriptor import build_descriptor
from csps_engine.model.load import load_model
from csps_engine.pipeline.prefill import PrefillRunner

RANKS, TOKENS = 4, 2048
NEEDLE = "\nRemember this: the secret word of the harbour master is 'umbrella'.\n"
QUESTION = "\n\nThe secret word of the harbour master is '"


@pytest.fixture(scope="module")
def prompt(model_file: Path) -> tuple[tuple[int, ...], int]:
    """Prose of the language's manual with a needle at a third, asked for at the end; and the answer's first token."""
    described = build_descriptor(model_file, "model", 4096, "kv")
    tokenizer = Tokenizer.from_str(json.dumps(described.tokenizer))

    def ids(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False).ids

    prose, needle, question = ids(" ".join(topics.values())[:20_000]), ids(NEEDLE), ids(QUESTION)
    third = TOKENS // 3
    rest = TOKENS - third - len(needle) - len(question)
    return (*prose[:third], *needle, *prose[third : third + rest], *question), ids("'umbrella")[1]


@pytest.fixture(scope="module")
def prefill(model_file: Path, prompt: tuple[tuple[int, ...], int]) -> Callable[..., tuple[Tensor, list[PrefillResult]]]:
    """Logits [vocab] and the results of all ranks."""
    model = load_model(model_file)

    def run(attention: AttentionKind, settings: CsaSettings) -> tuple[Tensor, list[PrefillResult]]:
        recording = RecordingLlama(model)
        job = PrefillJob("request", prompt[0], attention=attention)
        results = on_ranks(RANKS, lambda mesh: PrefillRunner(recording, mesh, settings).run(job, KeptKv()))
        return recording.seen[0][0], results

    return run


def test_default_settings_hold_their_floor_and_find_the_needle_at_a_third_of_the_bytes(
    prefill: Callable[..., tuple[Tensor, list[PrefillResult]]],
    prompt: tuple[tuple[int, ...], int],
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    dense, dense_results = prefill("dense", CsaSettings())
    assert int(dense.argmax()) == prompt[1]
    sparse, results = prefill("sparse", CsaSettings())
    reports = [result.sparse for result in results if result.sparse is not None]
    assert len(reports) == RANKS
    rows = sum(report.available_rows for report in reports)
    fetched = sum(report.fetched_bytes for report in reports)
    measured = {
        "relative logits error": float((sparse - dense).norm() / dense.norm()),
        "mass mean": reports[0].mass_mean,
        "mass p01": reports[0].mass_p01,
        "keys fetched": sum(report.fetched_rows for report in reports) / rows,
        # Against keys and values of 16 bits, as GPUs hold them; against the 32 of this run it is half of that.
        "bytes fetched": fetched / (rows * 2 * 64 * 2),
        "bytes sent": sum(r.sent_bytes for r in results) / sum(r.sent_bytes for r in dense_results),
    }
    for key, value in measured.items():
        record_testsuite_property(key, round(value, 4))
    assert int(sparse.argmax()) == prompt[1]
    assert measured["mass mean"] >= 0.98
    assert measured["mass p01"] >= 0.9
    assert measured["bytes fetched"] <= 0.35
    assert measured["bytes sent"] < 0.5
    assert measured["relative logits error"] < 0.03
