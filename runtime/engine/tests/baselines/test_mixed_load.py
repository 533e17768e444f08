"""What the load of long prompts among short ones is made of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.mixed.load import Ask
from bench.mixed.outcome import Outcome, decode_rate, prefill_rate, table
from bench.mixed.product_rank import parse_groups
from bench.mixed.shallow import write_shallow
from csps_engine.model.load import load_model


def test_a_shallow_file_holds_the_first_layers_and_all_else_as_it_is(model_file: Path, tmp_path: Path) -> None:
    write_shallow(model_file, tmp_path / "first-2.gguf", 2)
    whole, shallow = load_model(model_file), load_model(tmp_path / "first-2.gguf")
    assert (shallow.config.layers, shallow.config.vocab) == (2, whole.config.vocab)
    ids = torch.tensor([1, 500, 40_000])
    x, turn = whole.embed(ids), whole.turn(torch.arange(3))
    assert torch.equal(x, shallow.embed(ids))
    for layer in range(2):
        assert torch.equal(whole.qkv(layer, x, turn).q, shallow.qkv(layer, x, turn).q)
    assert torch.equal(whole.logits(x), shallow.logits(x))


def test_groups_are_read_from_their_sizes() -> None:
    groups = parse_groups("4,1:2")
    assert [(group.role, group.first, group.ranks) for group in groups] == [
        ("prefill", 0, 4),
        ("prefill", 4, 1),
        ("decode", 5, 2),
    ]
    with pytest.raises(ValueError, match="must be positive"):
        parse_groups("4,0:2")


def test_rates_are_tokens_over_the_waiting_for_them() -> None:
    outcomes = [Outcome(Ask(1.0, 100, 3), (3.0, 4.0, 5.0)), Outcome(Ask(2.0, 300, 2), (4.0, 6.0))]
    assert prefill_rate(outcomes) == pytest.approx(400 / 4)
    assert decode_rate(outcomes) == pytest.approx(3 / 4)
    twice = [Outcome(o.ask, tuple(2 * at - o.ask.arrival_s for at in o.token_s)) for o in outcomes]
    gains = [
        float(line.split()[-2 if line.split()[-1] in ("7.50", "1.92", "9.80", "8.20", "5.20") else -1])
        for line in table(twice, outcomes).splitlines()[1:-1]
    ]
    assert gains == pytest.approx([2.0] * 7)
