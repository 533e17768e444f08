"""Answers to questions about a prompt whose keys and values are known, ranked by the model's own logits.

A question's tokens attend exactly to all keys of the context and to each other. That is what the tail of a prompt
does in sparse prefill, so context and question are together a prompt whose tail is the question; many questions then
share one prefill.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.accuracy.haystack import Question
from csps_engine.attention.attend import attend
from csps_engine.attention.partial import Partial, merge
from csps_engine.model.llama import Llama

Context = Sequence[tuple[Tensor, Tensor]]
"""K and V [K, N, D] by layer."""


def answer(model: Llama, context: Context, questions: Sequence[Question]) -> list[Tensor]:
    """Log-probabilities of each question's candidates."""
    with torch.inference_mode():
        return _answer(model, context, questions)


def _answer(model: Llama, context: Context, questions: Sequence[Question]) -> list[Tensor]:
    before = context[0][0].shape[1]
    lengths = [len(question.tokens) for question in questions]
    positions = torch.cat([torch.arange(before, before + length) for length in lengths])
    x = model.embed(torch.tensor([token for question in questions for token in question.tokens]))
    turn = model.turn(positions)
    for layer, (k, v) in enumerate(context):
        q, own_k, own_v = model.qkv(layer, x, turn)
        far = attend(q, k, v, causal=False)
        rows = (part.split(lengths) for part in (q, own_k, own_v))
        near = [_within(*row) for row in zip(*rows, strict=True)]
        both = merge(far, Partial(*(torch.cat(column) for column in zip(*near, strict=True))))
        model.finish(layer, x, both.out)
    last = torch.tensor(lengths).cumsum(0) - 1
    scores = model.logits(x[last]).log_softmax(-1)
    return [row[list(question.candidates)] for row, question in zip(scores, questions, strict=True)]


def _within(q: Tensor, k: Tensor, v: Tensor) -> Partial:
    return attend(q, k.transpose(0, 1).contiguous(), v.transpose(0, 1).contiguous(), causal=True)


def score(question: Question, ranked: Tensor) -> float:
    """Of the best n candidates, n being the number of right ones, the share that is right."""
    count = len(question.right)
    best = ranked.topk(count).indices.tolist()
    return sum(question.candidates[index] in question.right for index in best) / count


def chance(question: Question) -> float:
    """Score of a random ranking."""
    return len(question.right) / len(question.candidates)
