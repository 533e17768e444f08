"""The recall task (MQAR, multi-query associative recall): pairs of a key and its value strewn in a context, then keys
again, each to be followed by its value.

A sheet is a context of `blocks` blocks of keys, and blocks of queries with questions. Both are rows of slots of two
tokens; a slot of the context holds a pair or noise, one of the questions a key and its answer or noise. Nothing but
the context tells which value belongs to a key, so an answer is right only if its pair was looked up.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

KEY_BLOCK, QUERY_BLOCK = 8, 16
"""Tokens of a block."""
KEYS, VALUES, NOISE = 64, 32, 16
VOCABULARY = KEYS + VALUES + NOISE
_FIRST_VALUE, _FIRST_NOISE = KEYS, KEYS + VALUES
_ASKED_OF_EIGHT = 5


class Sheets(NamedTuple):
    """A batch of B sheets of N tokens."""

    tokens: Tensor  # [B, N]
    asked: Tensor  # [B, N] bool: whether the next token is an answer
    context: int
    """Tokens of the context."""


def draw_sheets(count: int, blocks: int, question_blocks: int, draw: torch.Generator) -> Sheets:
    """Half of the context's slots hold pairs; five in eight of the questions' slots ask for one, each for another."""
    slots, question_slots = blocks * KEY_BLOCK // 2, question_blocks * QUERY_BLOCK // 2
    pairs = slots // 2
    asking = min(question_slots * _ASKED_OF_EIGHT // 8, pairs)
    keys = _choose(count, KEYS, pairs, draw)
    values = torch.randint(_FIRST_VALUE, _FIRST_NOISE, (count, pairs), generator=draw)
    context = _strew(_choose(count, slots, pairs, draw), keys, values, slots, draw)
    which = _choose(count, pairs, asking, draw)
    places = _choose(count, question_slots, asking, draw)
    questions = _strew(places, keys.gather(1, which), values.gather(1, which), question_slots, draw)
    tokens = torch.cat([context, questions], 1)
    asked = tokens < KEYS
    asked[:, : context.shape[1]] = False
    return Sheets(tokens, asked, context.shape[1])


def _strew(places: Tensor, first: Tensor, second: Tensor, slots: int, draw: torch.Generator) -> Tensor:
    """Pairs at `places` among `slots` slots of noise."""
    both = torch.randint(_FIRST_NOISE, VOCABULARY, (len(places), slots, 2), generator=draw)
    at = places.unsqueeze(2).expand(-1, -1, 2)
    return both.scatter(1, at, torch.stack([first, second], 2)).flatten(1)


def _choose(rows: int, among: int, count: int, draw: torch.Generator) -> Tensor:
    """Of each row, `count` different numbers below `among`."""
    return torch.rand(rows, among, generator=draw).argsort(1)[:, :count]
