"""The real small model on real text: what decode's choice of blocks covers, and that it finds what is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics

import pytest
from prompt_kv import KeptKv, Prefilled, prefill, store
from rank_threads import on_ranks
from tokenizers import Tokenizer

from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import PAGE_TOKENS, ChoiceReport, DecodeRow, PageTable, Place, StepPlan
from csps_engine.csa.decode_settings import DecodeChoice
from csps_engine.csa.page_digests import PageDigests
from csps_engine.kv.pool import KvPool
from csps_engine.model.descriptor import build_descriptor
from csps_engine.model.llama import Llama
from csps_engine.model.load import load_model
from csps_engine.pipeline.chosen_pages import Reader
from csps_engine.pipeline.decode import DecodeRunner

TOKENS, STEPS = 1600, 4
NEEDLE = "\nRemember this: the secret word of the harbour master is 'umbrella'.\n"
QUESTION = "\n\nThe secret word of the harbour master is '"


@pytest.fixture(scope="module")
def model(model_file: Path) -> Llama:
    return load_model(model_file)


@pytest.fixture(scope="module")
def asked(model_file: Path, model: Llama) -> tuple[list[int], Prefilled, list[int]]:
    """Prose with a needle at a third, asked for at the end; all but its last token prefilled; and the answer."""
    described = build_descriptor(model_file, "model", 4096, "kv")
    tokenizer = Tokenizer.from_str(json.dumps(described.tokenizer))

    def ids(text: str) -> list[int]:
        found: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return found

    prose, needle, question = ids(" ".join(topics.values())[:16_000]), ids(NEEDLE), ids(QUESTION)
    third = TOKENS // 3
    rest = TOKENS - third - len(needle) - len(question)
    prompt = [*prose[:third], *needle, *prose[third : third + rest], *question]
    return prompt, prefill(model, prompt[:-1], 1), ids("'umbrella")[1:]


Answer = tuple[list[int], list[ChoiceReport]]


@pytest.fixture(scope="module")
def answer(model: Llama, asked: tuple[list[int], Prefilled, list[int]]) -> Callable[[int, DecodeChoice | None], Answer]:
    """Tokens after the prompt, and what the steps read of it."""
    prompt, prefilled, _ = asked
    pages = (TOKENS + STEPS) // PAGE_TOKENS + 1

    def run(ranks: int, rule: DecodeChoice | None) -> Answer:
        places = [Place(page % ranks, page) for page in range(pages)]
        kv: KeptKv = prefilled.kv

        def decode(mesh: Mesh) -> Answer:
            pool = KvPool(model.config.kv_shape("float32"), pages)
            store(pool, kv, places, mesh.rank)
            reader = None if rule is None else Reader(pool, PageDigests(pool, rule.block_tokens), rule)
            runner, tokens, told = DecodeRunner(model, mesh, pool, reader), [prompt[-1]], []
            for step in range(STEPS):
                position = TOKENS - 1 + step
                plan = StepPlan((DecodeRow("r", 0, tokens[-1], position),))
                result = runner.step(plan, {"r": PageTable(places, position)})
                tokens.append(result.sampled["r"].token_id)
                told += result.chosen.values()
            return tokens[1:], told

        return on_ranks(ranks, decode)[0]

    return run


def test_default_settings_find_the_needle_and_hold_nearly_all_attention_wherever_pages_are(
    answer: Callable[[int, DecodeChoice | None], Answer],
    asked: tuple[list[int], Prefilled, list[int]],
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    wanted = asked[2]
    dense, none = answer(1, None)
    assert none == []
    assert dense[: len(wanted)] == wanted
    for ranks in (1, 3):
        tokens, reports = answer(ranks, DecodeChoice(min_tokens=1024))
        assert tokens[: len(wanted)] == wanted
        assert len(reports) == STEPS
        read, skipped = (sum(getattr(r, name) for r in reports) for name in ("read_tokens", "skipped_tokens"))
        measured = {
            "decode mass covered": sum(r.covered for r in reports) / STEPS,
            "decode keys read": read / (read + skipped),
            "decode left at most": sum(r.left_bound for r in reports) / STEPS,
        }
        for key, value in measured.items():
            record_testsuite_property(f"{key}, {ranks} ranks", round(value, 4))
        assert measured["decode mass covered"] >= 0.97
        assert measured["decode keys read"] <= 0.75


def test_a_request_under_the_least_length_is_answered_as_ever(
    answer: Callable[[int, DecodeChoice | None], Answer],
) -> None:
    assert answer(2, DecodeChoice()) == answer(2, None)
