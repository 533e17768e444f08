from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from csps_engine.core.draw import unit_random
from csps_engine.core.plan import Sampling
from csps_engine.sampling import sample

LOGITS = torch.tensor([1.0, 3.0, 2.0, 0.0, -1.0])
DRAWS = 4000


def frequencies(sampling: Sampling) -> list[float]:
    drawn = [sample(LOGITS, sampling, position).token_id for position in range(DRAWS)]
    return [drawn.count(token) / DRAWS for token in range(len(LOGITS))]


def assert_close_to(found: list[float], wanted: list[float]) -> None:
    # Four standard deviations of the mean of DRAWS draws.
    for one, other in zip(found, wanted, strict=True):
        assert abs(one - other) <= 4 * math.sqrt(other * (1 - other) / DRAWS)


def test_temperature_zero_takes_the_likeliest_token_without_logprobs() -> None:
    token = sample(LOGITS, Sampling(), 0)
    assert (token.token_id, token.logprob, token.top) == (1, 0.0, ())


def test_logprobs_are_the_models_own_in_falling_order() -> None:
    token = sample(LOGITS, Sampling(temperature=2.0, top_p=0.5, logprobs=3, want_logprobs=True), 9)
    expected = torch.log_softmax(LOGITS, -1).tolist()
    assert token.logprob == pytest.approx(expected[token.token_id])
    assert [i for i, _ in token.top] == [1, 2, 0]
    assert [p for _, p in token.top] == pytest.approx([expected[1], expected[2], expected[0]])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax_at_the_temperature(temperature: float) -> None:
    wanted = torch.softmax(LOGITS / temperature, -1).tolist()
    assert_close_to(frequencies(Sampling(temperature=temperature, seed=11)), wanted)


def test_top_p_keeps_the_fewest_likeliest_tokens_and_renormalizes() -> None:
    # Masses in falling order: 0.636, 0.234, 0.086, …; 0.7 needs the first two.
    mass = torch.softmax(LOGITS, -1)
    kept = mass[[1, 2]].sum()
    wanted = [0.0, float(mass[1] / kept), float(mass[2] / kept), 0.0, 0.0]
    assert_close_to(frequencies(Sampling(temperature=1.0, top_p=0.7, seed=3)), wanted)


def test_a_tiny_top_p_is_greedy() -> None:
    assert frequencies(Sampling(temperature=1.0, top_p=1e-9, seed=1))[1] == 1.0


@given(seed=st.integers(0, 2**53 - 1), position=st.integers(0, 2**31))
def test_the_same_seed_and_position_draw_the_same_token(seed: int, position: int) -> None:
    sampling = Sampling(temperature=1.0, seed=seed)
    assert sample(LOGITS, sampling, position) == sample(LOGITS, sampling, position)
    assert 0 <= unit_random(seed, position) < 1


def test_seeds_and_positions_draw_independently() -> None:
    numbers = {unit_random(seed, position) for seed in range(50) for position in range(50)}
    assert len(numbers) == 2500
    assert sum(numbers) / len(numbers) == pytest.approx(0.5, abs=0.03)


def test_a_draw_never_changes_so_that_ranks_of_two_releases_agree() -> None:
    assert unit_random(7, 100) == 0.28737417372428775
