"""The real small model on real text: what the default settings cover, skip and change.

The measured numbers go into the test report. What is asserted is the budget, that sparse attention does not lose
what the prompt asks for, and bounds far from the measured errors.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import torch
from prompt_kv import KeptKv, RecordingLlama
from rank_threads import on_ranks
from tokenizers import Tokenizer
from torch import Tensor

from csps_engine.core.plan import AttentionKind, PrefillJob, PrefillResult
from csps_engine.csa.settings import CsaSettings, Level
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


def test_default_settings_skip_far_keys_and_still_find_the_needle(
    prefill: Callable[..., tuple[Tensor, list[PrefillResult]]],
    prompt: tuple[tuple[int, ...], int],
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    wanted = prompt[1]
    dense, dense_results = prefill("dense", CsaSettings())
    answer = int(dense.argmax())
    assert answer == wanted
    for name, settings in {
        "default": CsaSettings(),
        "budget 0.2": dataclasses.replace(CsaSettings(), levels=(Level(0, 0.2),)),
    }.items():
        sparse, results = prefill("sparse", settings)
        reports = [result.sparse for result in results if result.sparse is not None]
        assert len(reports) == RANKS
        fetched = sum(r.fetched_bytes for r in reports) / sum(r.available_bytes for r in reports)
        relative = float((sparse - dense).norm() / dense.norm())
        sent = sum(r.sent_bytes for r in results) / sum(r.sent_bytes for r in dense_results)
        measured = {
            "relative logits error": relative,
            "largest logits error": float((sparse - dense).abs().max()),
            "mass mean": reports[0].mass_mean,
            "mass p01": reports[0].mass_p01,
            "fetched share": fetched,
            "sent share": sent,
        }
        for key, value in measured.items():
            record_testsuite_property(f"{name}: {key}", round(value, 4))
        assert int(sparse.argmax()) == answer
        assert fetched <= settings.levels[0].budget + 0.02
        assert sent < 1
        assert torch.isfinite(sparse).all()
        assert relative < 0.2
        assert reports[0].mass_mean > 0.85
