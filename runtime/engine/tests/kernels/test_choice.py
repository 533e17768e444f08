"""The engine's attention behind its one interface, by kernels and by torch."""

from __future__ import annotations

import pytest
import torch
from draws import SIXTEEN_BIT, assert_near, normal

from csps_engine.attention.attend import attend
from csps_engine.attention.chosen import ChosenBlocks, attend_chosen
from csps_engine.attention.listed import attend_listed, tile_queries
from csps_engine.attention.paged import PageTable, ViewedPages, paged_attention
from csps_engine.attention.partial import Partial, merge, merge_many
from csps_engine.core.kvshape import KvShape
from csps_engine.csa.digest import digest
from csps_engine.csa.need import expected_weight
from csps_engine.csa.votes import neediest
from csps_engine.kernels import choice
from csps_engine.kernels.blocks import BEFORE_ALL, BlockLists, KeyBlocks
from csps_engine.kv.pool import KvPool
from csps_engine.kv.runs import Run


def by(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, this form."""
    monkeypatch.setenv(choice.VARIABLE, form)
    choice._asked.cache_clear()


@pytest.fixture(autouse=True)
def _restored() -> object:
    yield
    choice._asked.cache_clear()


def test_the_setting_and_the_device_choose_the_form(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    for form, wanted in [
        ("torch", False),
        ("triton", True),
        ("auto", device.type == "cuda"),
        ("", device.type == "cuda"),
    ]:
        by(form, monkeypatch)
        assert (choice.kernels_for(torch.empty(2, 64, device=device)) is not None) == wanted
    by("triton", monkeypatch)
    assert choice.kernels_for(torch.empty(2, 80, device=device)) is None
    assert choice.kernels_for(torch.empty(2, 8, device=device)) is None
    assert choice.kernels_for(torch.empty(2, 64, device=device, dtype=torch.float64)) is None


def test_a_step_over_strewn_pages_is_the_same_by_both_forms(
    monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    pool = KvPool(KvShape(layers=2, kv_heads=3, head_dim=64, dtype="float32"), 12, device)
    for layer in range(2):
        pool.write(layer, 0, normal(layer, 3, 768, 64).to(device), normal(layer + 2, 3, 768, 64).to(device))
    held = [[Run(7, 64), Run(2, 64), Run(3, 5)], [Run(9, 1)], [Run(0, 64), Run(1, 64), Run(11, 64), Run(10, 64)]]
    q = normal(9, 3, 9, 64).to(device)
    by("torch", monkeypatch)
    plain = paged_attention(pool, held)
    by("triton", monkeypatch)
    fast = paged_attention(pool, held)
    assert (type(plain), type(fast)) == (ViewedPages, PageTable)
    for layer in range(2):
        wanted = plain.attend(layer, q)
        assert_near(fast.attend(layer, q), Partial(wanted.out.cpu(), wanted.lse.cpu()))
    assert paged_attention(pool, []).attend(0, q[:0]).out.shape == (0, 9, 64)


@pytest.mark.parametrize(("dtype", "heads"), [(torch.float32, 9), (SIXTEEN_BIT, 12)])
def test_chosen_blocks_are_read_alike_by_both_forms(
    dtype: torch.dtype, heads: int, monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    pages = tuple(normal(seed, 3, 6, 64, 64, dtype=dtype).to(device) for seed in (1, 2))
    q = normal(3, 2, heads, 64, dtype=dtype).to(device)
    # Every KV head has a list of its own: some of several blocks, one of none, the last block partly filled.
    listed = torch.tensor([[[3, 4, 11], [0, 7, 7], [10, 2, 5]], [[6, 0, 0], [1, 9, 0], [8, 0, 0]]], dtype=torch.int32)
    lengths = torch.tensor([[96, 0, 70], [32, 33, 1]], dtype=torch.int32)
    chosen = ChosenBlocks(listed.to(device), lengths.to(device), 32)
    found = []
    for form in ("torch", "triton"):
        by(form, monkeypatch)
        found.append(attend_chosen(q, pages, chosen))
    assert_near(found[1], Partial(found[0].out.cpu(), found[0].lse.cpu()))


@pytest.mark.parametrize("lists_of", [2, 6])
def test_listed_blocks_add_the_same_by_both_forms(
    lists_of: int, monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    tokens = 150
    q, own = normal(1, tokens, 6, 64).to(device), normal(2, 2, 9, 64).to(device)
    k, v = normal(3, 150, 64).to(device), normal(4, 150, 64).to(device)
    blocks = KeyBlocks(
        *(torch.tensor(c, dtype=torch.int32).to(device) for c in ([0, 40, 77], [32, 7, 32], [BEFORE_ALL] * 3))
    )
    found = []
    for form in ("torch", "triton"):
        by(form, monkeypatch)
        tiles = -(-tokens // tile_queries(q))
        read = torch.ones(lists_of, tiles, 3, dtype=torch.bool)
        read[0], read[1, :, 1] = False, False
        end = read.sum(2).flatten().cumsum(0).view(lists_of, tiles)
        listed = read.nonzero(as_tuple=True)[2]
        lists = BlockLists(*(part.int().to(device) for part in (end - read.sum(2), end, listed)))
        held = attend(q, own, own, causal=False)
        found.append(attend_listed(held, q, (k, v), blocks, lists))
    assert_near(found[1], Partial(found[0].out.cpu(), found[0].lse.cpu()))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (SIXTEEN_BIT, 2e-2)])
def test_expected_weights_are_the_same_by_both_forms(
    dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    k, q = normal(3, 3, 70 * 32 - 9, 64).to(device), (normal(4, 101, 64) * 3).to(dtype).to(device)
    answers = []
    for form in ("torch", "triton"):
        by(form, monkeypatch)
        digests = digest(k, 32)[:, 1]
        assert expected_weight(q[:0], digests, 32).shape == (0, 70)
        answers.append(expected_weight(q, digests, 32))
    torch.testing.assert_close(answers[1], answers[0], rtol=0, atol=tolerance)


def test_merges_digests_and_votes_are_the_same_by_both_forms(
    monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    out, lse = normal(1, 3, 5, 9, 64).to(device), normal(2, 3, 5, 9).to(device)
    parts = [Partial(*part) for part in zip(out, lse, strict=True)]
    k = normal(3, 3, 100, 64).to(device)
    answers = []
    for form in ("torch", "triton"):
        by(form, monkeypatch)
        digests = digest(k, 32)
        answers.append([*merge(*parts[:2]), *merge_many(out, lse), digests.float(), neediest(out[0], lse[0], digests)])
    for plain, fast in zip(*answers, strict=True):
        torch.testing.assert_close(fast, plain, rtol=0, atol=2e-5)
