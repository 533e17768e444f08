"""Digests of pages stay those of the pages, whoever fills them."""

from __future__ import annotations

import torch
from torch import Tensor

from csps_engine.core.kvshape import KvShape
from csps_engine.csa.digest import digest
from csps_engine.csa.page_digests import PAGES_AT_ONCE, PageDigests
from csps_engine.kv.pool import KvPool

SHAPE = KvShape(layers=2, kv_heads=3, head_dim=16, dtype="float32")
BLOCK = 32


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fill(pool: KvPool, slot: int, seed: int) -> Tensor:
    """A page's keys [K, page, D] in layer 1."""
    k = drawn(seed, 3, SHAPE.page_tokens, 16)
    for layer in range(2):
        pool.write(layer, slot, k + layer, k)
    return k + 1


def test_digests_are_made_once_and_again_after_a_page_was_written_or_grew() -> None:
    pool = KvPool(SHAPE, 4)
    digests = PageDigests(pool, BLOCK)
    first = fill(pool, 2, seed=1)
    digests.prepare([2])
    assert torch.equal(digests.of(1)[2], digest(first, BLOCK))
    again = fill(pool, 2, seed=2)
    digests.prepare([2])
    assert torch.equal(digests.of(1)[2], digest(again, BLOCK))
    # Appended token by token, as decode does: the pool does not tell, the page that grows is forgotten.
    grown = drawn(3, 3, SHAPE.page_tokens, 16)
    for layer in range(2):
        pool.append(layer, torch.arange(128, 192), grown.transpose(0, 1), grown.transpose(0, 1))
    digests.forget([2])
    digests.prepare([2])
    assert torch.equal(digests.of(1)[2], digest(grown, BLOCK))


def test_digests_of_many_pages_are_each_page_s_own() -> None:
    slots = PAGES_AT_ONCE + 3
    pool = KvPool(SHAPE, slots)
    keys = [fill(pool, slot, seed=slot) for slot in range(slots)]
    digests = PageDigests(pool, BLOCK)
    digests.prepare(range(slots))
    for found, page in zip(digests.of(1), keys, strict=True):
        assert torch.equal(found, digest(page, BLOCK))
