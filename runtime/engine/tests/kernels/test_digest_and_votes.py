from __future__ import annotations

import pytest
import torch
from draws import SIXTEEN_BIT, normal
from tolerances import TOLERANCES

from csps_engine.csa import digest as torch_digest
from csps_engine.csa import votes as torch_votes
from csps_engine.kernels.digest import digest
from csps_engine.kernels.votes import neediest

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("tokens", "block", "size"), [(1, 16, 64), (150, 32, 64), (96, 32, 128), (130, 64, 64)])
def test_a_digest_equals_the_torch_form_bit_for_bit(
    tokens: int, block: int, size: int, dtype: torch.dtype, device: torch.device
) -> None:
    keys = normal(tokens, 3, tokens, size, dtype=dtype) * 10
    keys[1] = 0
    keys[2, : tokens // 2] *= 1e-3
    assert torch.equal(digest(keys.to(device), block).cpu(), torch_digest.digest(keys, block))


def test_a_digest_reads_strided_keys_and_none_at_all(device: torch.device) -> None:
    token_major = normal(5, 70, 3, 64)
    keys = token_major.transpose(0, 1)
    assert torch.equal(digest(keys.to(device), 32).cpu(), torch_digest.digest(keys, 32))
    assert digest(keys[:, :0].to(device), 32).shape == (0, 3, 132)


@pytest.mark.parametrize("dtype", [torch.float32, SIXTEEN_BIT])
@pytest.mark.parametrize(("heads", "kv_heads", "size"), [(9, 3, 64), (8, 2, 128)])
def test_votes_equal_the_torch_form(
    heads: int, kv_heads: int, size: int, dtype: torch.dtype, device: torch.device
) -> None:
    keys = normal(1, kv_heads, 70 * 16 - 5, size, dtype=dtype)
    q, lse = normal(2, 45, heads, size, dtype=dtype), normal(3, 45, heads)
    digests = torch_digest.digest(keys, 16)
    votes = neediest(q.to(device), lse.to(device), digests.to(device)).cpu()
    wanted = torch_votes.neediest(q, lse, digests)
    torch.testing.assert_close(votes, wanted, rtol=0, atol=4 * TOLERANCES[torch.float32].lse)


def test_votes_bound_every_gain_of_every_query(device: torch.device) -> None:
    keys, q, lse = normal(4, 1, 40, 64), normal(5, 7, 2, 64), normal(6, 7, 2)
    votes = neediest(q.to(device), lse.to(device), digest(keys.to(device), 8)).cpu()
    gains = torch.einsum("thd,sd->ths", q, keys[0]) / 8 - lse.unsqueeze(-1)
    assert (votes[0] >= gains.amax((0, 1)).unflatten(0, (5, 8)).amax(1)).all()


def test_nobody_votes_for_less_than_anything(device: torch.device) -> None:
    digests = torch_digest.digest(normal(1, 3, 40, 64), 16).to(device)
    nobody = neediest(torch.empty(0, 9, 64, device=device), torch.empty(0, 9, device=device), digests)
    assert nobody.shape == (3, 3)
    assert torch.isneginf(nobody).all()
    assert neediest(torch.ones(2, 9, 64, device=device), torch.ones(2, 9, device=device), digests[:0]).shape == (3, 0)


def test_a_query_that_holds_nothing_gains_without_bound(device: torch.device) -> None:
    digests = torch_digest.digest(normal(1, 3, 40, 64), 16).to(device)
    lse = torch.tensor([[0.0] * 9, [float("-inf")] * 9], device=device)
    assert torch.isposinf(neediest(torch.ones(2, 9, 64, device=device), lse, digests)).all()
