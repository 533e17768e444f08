"""What a rank reads of the blocks that it fetched."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from prompts import BARE, random_layer

from csps_engine.attention.attend import attend_reference
from csps_engine.csa.arrival import arrange
from csps_engine.csa.fetch import Keys
from csps_engine.csa.layout import Layout
from csps_engine.csa.own import Least, attend_own, attend_own_last
from csps_engine.csa.voters import RUN, hear
from csps_engine.csa.worth import Tiles, worth_reading


def test_a_tile_reads_what_any_of_its_voters_would_look_at_and_all_when_it_has_no_voter() -> None:
    share = torch.tensor([[0.3, 0.01, 0.0], [0.0, 0.02, 0.2], [0.5, 0.001, 0.0]])
    found = worth_reading(share, torch.tensor([0, 0, 2]), 3, 0.02)
    assert found.tolist() == [[True, True, True], [True, True, True], [True, False, False]]
    assert worth_reading(share, torch.tensor([0, 0, 2]), 3, 0.0).all()


@pytest.mark.parametrize(
    ("early", "regular", "count"), [(128, 256, 4), (64, 70, 2), (0, 65, 2), (30, 30, 1), (0, 0, 0)]
)
def test_no_tile_lies_across_two_chunks(early: int, regular: int, count: int) -> None:
    tiles = Tiles(early, regular, 64)
    of = tiles.of(torch.arange(regular))
    assert tiles.total == count == len(of.unique())
    assert set(of[:early].tolist()).isdisjoint(of[early:].tolist())
    assert all(int((of == tile).sum()) <= 64 for tile in range(count))


def test_blocks_that_came_are_found_by_head_sender_and_number() -> None:
    layout = Layout([((0, 64), (192, 250)), ((64, 128), (128, 192))], dataclasses.replace(BARE, block_tokens=16))
    taken = [torch.zeros(2, layout.blocks(0), dtype=torch.bool), torch.zeros(2, layout.blocks(1), dtype=torch.bool)]
    taken[0][0, [1, 7]], taken[0][1, 3] = True, True
    rows = 16 + 10 + 16
    came = arrange([Keys(torch.arange(rows)[:, None], torch.arange(rows)[:, None]), None], taken, layout)
    assert came is not None
    found = zip(came.head.tolist(), came.sender.tolist(), came.number.tolist(), came.blocks.row.tolist(), strict=True)
    assert list(found) == [(0, 0, 1, 0), (0, 0, 7, 16), (1, 0, 3, 26)]
    assert came.blocks.tokens.tolist() == [16, 10, 16]
    assert arrange([None, None], taken, layout) is None


def test_voters_know_the_weight_of_own_keys_up_to_their_own() -> None:
    layer = random_layer(3 * RUN, 9, 3)
    at = torch.arange(0, 3 * RUN, 2)
    voters = hear(layer.q, layer.k, at, Tiles(0, 3 * RUN, 64))
    exact = attend_reference(layer.q, layer.k, layer.v, causal=True).lse[at]
    torch.testing.assert_close(voters.lse, exact, rtol=0, atol=1e-5)
    assert hear(layer.q[:0], layer.k, at[:0], Tiles(0, 0, 64)).lse.shape == (0, 9)


@pytest.mark.parametrize("tokens", [40, 256, 300, 513])
@pytest.mark.parametrize("least", [0.0, 1e-30])
def test_own_keys_are_attended_to_in_full_where_everything_is_read(tokens: int, least: float) -> None:
    layer = random_layer(tokens, 9, 3)
    voters = hear(layer.q, layer.k, torch.arange(0, tokens, 8), Tiles(0, tokens, 64))
    found = attend_own(layer.q, layer.k, layer.v, voters, Least(least, least))
    exact = attend_reference(layer.q, layer.k, layer.v, causal=True)
    torch.testing.assert_close(found.out, exact.out, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.lse, exact.lse, rtol=0, atol=1e-5)


def test_own_blocks_that_no_voter_looks_at_are_left_out_and_nothing_else() -> None:
    layer = random_layer(512)
    layer.k[:, :64] -= 40 * layer.q.mean((0, 1)).sign()  # nobody looks there
    layer.q[:] = layer.q.mean((0, 1)) + 0.01 * layer.q
    voters = hear(layer.q, layer.k, torch.arange(0, 512, 8), Tiles(0, 512, 64))
    found = attend_own(layer.q, layer.k, layer.v, voters, Least(1e-6, 1e-6))
    exact = attend_reference(layer.q, layer.k, layer.v, causal=True)
    lost = 1 - torch.exp(found.lse - exact.lse)
    assert lost.max() < 1e-4
    torch.testing.assert_close(found.out, exact.out, rtol=0, atol=1e-3)


@pytest.mark.parametrize("count", [0, 1, 64])
def test_the_last_of_own_queries_are_exact(count: int) -> None:
    layer = random_layer(200)
    exact = attend_reference(layer.q, layer.k, layer.v, causal=True)
    found = attend_own_last(layer.q, layer.k, layer.v, count)
    torch.testing.assert_close(found.out, exact.out[200 - count :], rtol=0, atol=1e-5)
    torch.testing.assert_close(found.lse, exact.lse[200 - count :], rtol=0, atol=1e-5)
