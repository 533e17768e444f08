"""Trains a recall network: short sheets first, then longer ones, until it answers as well as asked."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from bench.recall.network import RecallNetwork
from bench.recall.sheets import Sheets, draw_sheets

STAGES = ((4, 48, 1), (8, 32, 1), (16, 24, 3))
"""Blocks of context, sheets of a batch, blocks of questions: of each stage of training."""
_PASSED = 0.995
_EVERY = 25
_RATE = 4e-3


class NotLearned(RuntimeError):
    """A stage took more steps than it was given."""


def train(seed: int, most_steps: int, progress: Callable[[str], None]) -> RecallNetwork:
    """A network that answers 99.5 % of the last stage's questions; raises NotLearned."""
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    network = RecallNetwork()
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    for blocks, count, question_blocks in STAGES:
        for step in range(most_steps):
            right = _step(network, optimizer, draw_sheets(count, blocks, question_blocks, draw))
            if step % _EVERY == 0:
                progress(f"seed {seed}, {blocks} blocks, step {step}: {100 * right:.1f} % right")
            if right >= _PASSED and accuracy(network, draw_sheets(4 * count, blocks, question_blocks, draw)) >= _PASSED:
                break
        else:
            raise NotLearned(f"seed {seed}: {blocks} blocks were not learned in {most_steps} steps")
    return network


def _step(network: RecallNetwork, optimizer: torch.optim.Optimizer, sheets: Sheets) -> float:
    logits = network(sheets.tokens)[:, :-1][sheets.asked[:, :-1]]
    answers = sheets.tokens[:, 1:][sheets.asked[:, :-1]]
    optimizer.zero_grad()
    F.cross_entropy(logits, answers).backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return float((logits.argmax(-1) == answers).float().mean())


def accuracy(network: RecallNetwork, sheets: Sheets) -> float:
    """Share of the answers that are right."""
    with torch.no_grad():
        logits = network(sheets.tokens)[:, :-1][sheets.asked[:, :-1]]
    return float((logits.argmax(-1) == sheets.tokens[:, 1:][sheets.asked[:, :-1]]).float().mean())
