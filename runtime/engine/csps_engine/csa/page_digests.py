"""Digests of the full pages of a KV pool, kept beside it for as long as the pages stay what they are.

A page is full once and then stays as it is until its slot is given to another request; whoever fills it then either
writes it, which the pool tells, or appends to it token by token, which `forget` is for.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from csps_engine.csa.digest import SCALE_BYTES, digest
from csps_engine.kv.pool import KvPool

PAGES_AT_ONCE = 64
"""Pages whose digests are made together."""


class PageDigests:
    """Of blocks of `block_tokens`, several a page. Made on the engine thread; slots may be forgotten on any."""

    def __init__(self, pool: KvPool, block_tokens: int) -> None:
        shape = pool.shape
        self.block_tokens = block_tokens
        self.blocks = shape.page_tokens // block_tokens
        """Of a page."""
        size = (shape.layers, pool.slots, self.blocks, shape.kv_heads, 2 * shape.head_dim + SCALE_BYTES)
        self._pool = pool
        self._stored = torch.empty(size, dtype=torch.int8, device=pool.device)
        self._known = bytearray(pool.slots)
        pool.on_write = self._written

    def forget(self, slots: Iterable[int]) -> None:
        """Pages that grow."""
        for slot in slots:
            self._known[slot] = 0

    def prepare(self, slots: Iterable[int]) -> None:
        """Have the digests of full pages in all layers."""
        new = sorted({slot for slot in slots if not self._known[slot]})
        for start in range(0, len(new), PAGES_AT_ONCE):
            part = new[start : start + PAGES_AT_ONCE]
            at = torch.tensor(part, dtype=torch.long, device=self._pool.device)
            for layer, stored in enumerate(self._stored):
                keys, _ = self._pool.pages(layer)
                made = digest(keys.index_select(1, at).flatten(1, 2), self.block_tokens)
                stored.index_copy_(0, at, made.unflatten(0, (len(part), self.blocks)))
            for slot in part:
                self._known[slot] = 1

    def of(self, layer: int) -> Tensor:
        """Digests [slots, blocks, K, 2D + 4] of a layer; those of pages that were not prepared are anything."""
        return self._stored[layer]

    def _written(self, slot: int, count: int) -> None:
        self.forget(range(slot, slot + count))
