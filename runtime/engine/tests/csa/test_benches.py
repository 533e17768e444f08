"""The programs that judge sparse attention, judged: what is exact has to score so."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from prompts import EVERYTHING
from tiny_llama import random_llama
from tokenizers import Tokenizer

from bench.accuracy.answers import answer, chance, score
from bench.accuracy.haystack import TASKS, Haystack, Question, haystack
from bench.accuracy.trial import prefill, run_trial
from bench.recall import choices, scores
from bench.recall.judge import judge
from bench.recall.network import RecallNetwork
from bench.recall.sheets import KEYS, draw_sheets
from csps_engine.csa.settings import CsaSettings
from csps_engine.model.descriptor import build_descriptor

QUESTION = Question("needle", (7, 11, 2), (3, 5, 8, 13), frozenset({5, 13}))


@pytest.fixture(scope="module")
def encode(model_file: Path) -> Callable[[str], list[int]]:
    described = build_descriptor(model_file, "model", 4096, "kv")
    tokenizer = Tokenizer.from_str(json.dumps(described.tokenizer))
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def test_a_haystack_is_as_long_as_asked_and_holds_the_right_answers(encode: Callable[[str], list[int]]) -> None:
    hay = haystack(2048, 3, encode)
    assert len(hay.tokens) == 2048
    assert haystack(2048, 3, encode) == hay
    assert {question.task for question in hay.questions} == set(TASKS)
    text = " ".join(map(str, hay.tokens))
    for question in hay.questions:
        assert len(set(question.candidates)) == len(question.candidates)
        assert question.right < set(question.candidates)
        if question.task in ("needle", "multi-key", "multi-value"):
            # The first token of the question begins its line; in the prose the sentence stands in the middle of one.
            said = " ".join(map(str, question.tokens[-3:]))
            assert all(f"{said} {word}" in text for word in question.right)
    with pytest.raises(ValueError, match="can't be made"):
        haystack(300, 3, encode)


def test_a_question_is_answered_as_if_it_stood_behind_the_context() -> None:
    model = random_llama(6, 2)
    context = tuple(torch.randint(0, 61, (200,), generator=torch.Generator().manual_seed(0)).tolist())
    other = dataclasses.replace(QUESTION, tokens=(9,))
    kept, _ = prefill(model, context, 1, "dense", CsaSettings())
    both = answer(model, kept, [QUESTION, other])
    for question, ranked in zip((QUESTION, other), both, strict=True):
        shortened, _ = prefill(model, (*context, *question.tokens[:-1]), 1, "dense", CsaSettings())
        last = answer(model, shortened, [dataclasses.replace(question, tokens=question.tokens[-1:])])[0]
        torch.testing.assert_close(ranked, last, rtol=0, atol=1e-4)


def test_a_score_is_the_share_of_right_ones_among_the_best() -> None:
    assert score(QUESTION, torch.tensor([0.0, 3.0, 2.0, 1.0])) == 0.5
    assert score(QUESTION, torch.tensor([0.0, 3.0, 1.0, 2.0])) == 1.0
    assert chance(QUESTION) == 0.5


def test_sparse_attention_that_leaves_nothing_out_answers_as_dense_does_and_moves_everything() -> None:
    hay = Haystack(tuple(i * 7 % 61 for i in range(700)), (QUESTION,))
    trial = run_trial(random_llama(6, 2), hay, 3, EVERYTHING)
    for dense, sparse in zip(trial.dense, trial.sparse, strict=True):
        torch.testing.assert_close(sparse, dense, rtol=0, atol=1e-3)
    assert trial.scores("needle", "dense") == trial.scores("needle", "sparse")
    # In 32 bits the same keys are twice the bytes of 16.
    assert (trial.moved.keys, trial.moved.bytes) == (1.0, 2.0)
    assert 1.0 < trial.moved.wire < 2.0
    assert trial.moved.mass_p01 >= 0.999


def test_every_answer_of_a_recall_sheet_stands_behind_its_key_in_the_context() -> None:
    sheets = draw_sheets(5, 16, 3, torch.Generator().manual_seed(0))
    for tokens, asked in zip(sheets.tokens.tolist(), sheets.asked.tolist(), strict=True):
        pairs = {tokens[i]: tokens[i + 1] for i in range(0, sheets.context, 2) if tokens[i] < KEYS}
        places = [i for i, flag in enumerate(asked) if flag]
        assert len(places) == 15
        assert all(i >= sheets.context and pairs[tokens[i]] == tokens[i + 1] for i in places)


def test_a_choice_of_all_blocks_loses_nothing_and_an_oracle_loses_least() -> None:
    torch.manual_seed(0)
    network, sheets = RecallNetwork(), draw_sheets(4, 16, 3, torch.Generator().manual_seed(1))
    whole = judge(network, sheets, choices.best(scores.by_range, 16))
    assert whole.recall == pytest.approx(1, abs=1e-5)
    assert whole.error < 1e-5
    assert whole.blocks == 16
    oracle, by_mean = (judge(network, sheets, choices.best(rule, 3)) for rule in (scores.by_mass, scores.by_mean))
    assert oracle.blocks == by_mean.blocks == 3
    assert by_mean.recall < oracle.recall < 1
    votes = (choices.true_mass, choices.highest_bound, choices.squared_share, choices.anti_diagonals)
    found = [judge(network, sheets, choices.one_choice_a_query_block(vote, 4)) for vote in votes]
    assert all(verdict.blocks == 4 and verdict.recall <= found[0].recall + 1e-6 for verdict in found)
    assert judge(network, sheets, choices.best_of_each_rank).blocks == choices.RANKS


def test_ranges_rounded_outward_bound_more_loosely_the_fewer_their_bits() -> None:
    draw = torch.Generator().manual_seed(2)
    q, k = torch.randn(2, 4, 6, 16, generator=draw), torch.randn(2, 4, 5, 8, 16, generator=draw)
    exact, eight, four = scores.by_range(q, k), scores.by_engine_range(q, k), scores.by_outward_range(4)(q, k)
    best = torch.einsum("bhqd,bhctd->bhqct", q, k).amax(-1) / 4
    assert (best <= exact + 1e-5).all()
    assert (exact <= eight + 1e-5).all()
    assert (eight <= four + 1e-5).all()
    assert (four - exact).mean() > 10 * (eight - exact).mean()
