from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from csps_engine.csa.digest import SCALE_BYTES, digest, limits
from csps_engine.csa.votes import neediest

cases = {
    "seed": st.integers(0, 2**31),
    "tokens": st.integers(1, 150),
    "block": st.sampled_from([16, 32, 64]),
    "scale": st.sampled_from([1e-20, 1e-3, 1.0, 500.0]),
}


@settings(max_examples=60)
@given(**cases)
def test_no_key_is_outside_its_blocks_limits(seed: int, tokens: int, block: int, scale: float) -> None:
    k = torch.randn(3, tokens, 8, generator=torch.Generator().manual_seed(seed)) * scale
    digests = digest(k, block)
    assert digests.shape == (-(-tokens // block), 3, 2 * 8 + SCALE_BYTES)
    low, high = limits(digests)
    for start in range(0, tokens, block):
        part = k[:, start : start + block]
        assert (low[start // block].unsqueeze(1) <= part).all()
        assert (high[start // block].unsqueeze(1) >= part).all()


@settings(max_examples=40)
@given(**cases)
def test_a_vote_is_at_least_the_best_score_over_what_is_held(seed: int, tokens: int, block: int, scale: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    k = torch.randn(2, tokens, 8, generator=draw) * scale
    q, lse = torch.randn(7, 6, 8, generator=draw), torch.randn(7, 6, generator=draw)
    votes = neediest(q, lse, digest(k, block))
    scores = torch.einsum("thd,hsd->ths", q, k.repeat_interleave(3, 0)) * 8**-0.5 - lse.unsqueeze(-1)
    gains = scores.amax(0).unflatten(0, (2, 3)).amax(1)  # [K, tokens]
    for start in range(0, tokens, block):
        best = gains[:, start : start + block].amax(1)
        assert (votes[:, start // block] >= best - 1e-5 * scale - 1e-6).all()


def test_digests_are_within_a_step_of_the_keys() -> None:
    k = torch.randn(2, 64, 16, generator=torch.Generator().manual_seed(0))
    low, high = limits(digest(k, 32))
    step = k.abs().max() / 127
    blocks = k.unflatten(1, (2, 32))
    assert (blocks.amin(2).transpose(0, 1) - low).max() <= 1.01 * step
    assert (high - blocks.amax(2).transpose(0, 1)).max() <= 1.01 * step


def test_votes_do_not_depend_on_how_queries_are_split() -> None:
    draw = torch.Generator().manual_seed(1)
    q, lse = torch.randn(50, 4, 8, generator=draw), torch.randn(50, 4, generator=draw)
    digests = digest(torch.randn(2, 96, 8, generator=draw), 32)
    halves = [neediest(q[part], lse[part], digests) for part in (slice(0, 20), slice(20, 50))]
    torch.testing.assert_close(torch.maximum(*halves), neediest(q, lse, digests))
