"""What queries need, from digests alone; and what a budget leaves of it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from csps_engine.csa.digest import SCALE_BYTES, digest
from csps_engine.csa.need import Demand, expected_weight, need
from csps_engine.csa.selection import Wishes, wish, within

HELD_ALL = torch.tensor([0.0, 0.0])


def shares(*rows: list[float]) -> torch.Tensor:
    """Log weights that give each query these shares, with what is left held at weight 1."""
    share = torch.tensor(rows)
    return torch.log(share / (1 - share.sum(1, keepdim=True)))


@settings(max_examples=60)
@given(seed=st.integers(0, 2**31), block=st.sampled_from([1, 8, 32, 64]), scale=st.sampled_from([0.1, 1.0, 5.0]))
def test_a_weight_is_never_expected_above_the_bound_of_the_rounded_keys(seed: int, block: int, scale: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    k = torch.randn(1, 2 * block, 16, generator=draw) * scale
    q = torch.randn(9, 16, generator=draw)
    digests = digest(k, block)[:, 0]
    expected = expected_weight(q, digests, block).double()
    keys, q = k[0].unflatten(0, (2, block)).double(), q.double()
    most = torch.maximum(q[:, None] * keys.amax(1), q[:, None] * keys.amin(1)).sum(-1) / 4 + math.log(block)
    # A limit lies less than a step outside the keys, but for the rounding of a quotient and a product of up to 127.
    step = digests[:, -SCALE_BYTES:].contiguous().view(torch.float32).double().T
    rounded_outward = q.abs().sum(1, keepdim=True) / 4 * step * (1 + 2.0**-15)
    # Twice 16 products and sums in fp32, of terms that no limit of 127 steps exceeds.
    rounding = 2.0**-24 * (64 * q.abs().sum(1, keepdim=True) / 4 * 127 * step + 4 * math.log(block))
    assert (expected <= most + rounded_outward + rounding).all()


@pytest.mark.parametrize("block", [16, 32, 64])
def test_the_weight_of_normal_keys_is_expected_to_within_half(block: int) -> None:
    draw = torch.Generator().manual_seed(block)
    k = torch.randn(1, 100 * block, 32, generator=draw) + torch.randn(1, 1, 32, generator=draw)
    q = torch.randn(50, 32, generator=draw)
    expected = expected_weight(q, digest(k, block)[:, 0], block)
    true = (q @ k[0].T * 32**-0.5).unflatten(1, (100, block)).logsumexp(-1)
    assert abs(float((expected - true).mean())) < 0.1
    assert float((expected - true).square().mean().sqrt()) < 0.4


def test_enough_is_the_least_number_that_leaves_the_served_within_their_tolerance() -> None:
    weights = shares([0.4, 0.05, 0.2, 0.01], [0.1, 0.05, 0.1, 0.01])
    loose, tight = (need(weights, HELD_ALL, Demand(t, 1.0, 1.0)) for t in (0.25, 0.05))
    assert loose.order.tolist() == [0, 2, 1, 3]
    assert (loose.enough, tight.enough) == (2, 3)
    generous = need(weights, HELD_ALL, Demand(0.25, 0.5, 1.0))
    assert generous.enough == 1
    assert need(weights, HELD_ALL, Demand(0.0, 1.0, 1.0)).enough == 4


def test_one_query_can_insist_on_a_block_unless_the_head_asks_for_nothing() -> None:
    weights = shares(*[[0.3, 0.001]] * 99, [0.3, 0.5])
    held = torch.zeros(100)
    one = need(weights, held, Demand(0.1, 0.9, 0.2))
    assert (one.enough, one.insisted.tolist()) == (1, [True, True])
    streaming = need(weights, held, Demand(1.0, 0.9, 0.2))
    assert wish([one, streaming]).wanted.tolist() == [[True, True], [False, False]]


def test_nobody_needs_anything_where_nobody_votes() -> None:
    nobody = need(torch.empty(0, 3), torch.empty(0), Demand(0.0, 0.99, 0.1))
    assert not wish([nobody]).wanted.any()
    blind = need(torch.full((2, 3), -math.inf), HELD_ALL, Demand(0.1, 0.99, 0.1))
    assert not wish([blind]).wanted.any()


def test_a_budget_goes_to_the_most_needed_blocks_of_all_heads() -> None:
    wishes = Wishes(torch.tensor([[True, True, False], [True, True, True]]), torch.tensor([[5.0, 1, 9], [4, 3, 2]]))
    choice = within(wishes, 3)
    assert choice.wanted.tolist() == [[True, False, False], [True, True, False]]
    assert choice.cut == 2
    assert within(wishes, 5).cut == 0
    assert not within(wishes, 0).wanted.any()


def test_a_planted_keys_block_is_wanted_for_the_sake_of_one_query_among_many() -> None:
    draw = torch.Generator().manual_seed(4)
    k, q = torch.randn(1, 1024, 32, generator=draw), torch.randn(400, 32, generator=draw)
    q[123] = k[0, 170] = torch.nn.functional.one_hot(torch.tensor(3), 32) * 12.0
    # The queries hold keys that matter more to them than any other block, but for the planted one.
    held = torch.full((400,), 12.0)
    weights = expected_weight(q, digest(k, 32)[:, 0], 32)
    demand = Demand(0.065, 0.99, 0.1)
    wanted = wish([need(weights, held, demand)]).wanted[0]
    assert wanted.nonzero().flatten().tolist() == [170 // 32]
    others = [i for i in range(400) if i != 123]
    assert not wish([need(weights[others], held[others], demand)]).wanted.any()
