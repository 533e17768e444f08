"""Paged keys and values of one rank.

Per layer and KV head all slots lie one after another, so a run of consecutive slots is one strided view
[kv_heads, tokens, head_dim] that attention reads without a copy. Short scattered runs are gathered instead,
page by page. Who owns which slot is the scheduler's business, not the pool's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from csps_engine.core.kvshape import KvShape
from csps_engine.kv.runs import Run, join_runs

VIEWED_RUN_TOKENS = 512
"""Runs of this mean length or more are attended one by one; below, a gather costs less than the extra calls."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """Where one request's local tokens are, prepared once and used in every layer."""

    runs: tuple[Run, ...]
    slots: Tensor | None
    """Pages to gather instead of viewing the runs."""
    tokens: int


class KvPool:
    """K and V of `slots` pages over all layers."""

    def __init__(self, shape: KvShape, slots: int, device: torch.device | str = "cpu") -> None:
        self.shape = shape
        self.slots = slots
        size = (shape.layers, shape.kv_heads, slots * shape.page_tokens, shape.head_dim)
        dtype = getattr(torch, shape.dtype)
        self._k = torch.empty(size, dtype=dtype, device=device)
        self._v = torch.empty(size, dtype=dtype, device=device)
        self.on_write: Callable[[int, int], None] | None = None
        """Told the first slot and how many slots whenever `write` has filled some, on the thread that wrote."""

    @property
    def device(self) -> torch.device:
        return self._k.device

    def write(self, layer: int, slot: int, k: Tensor, v: Tensor) -> None:
        """Fill slots from `slot` on with k, v [kv_heads, n, head_dim]; n may span several consecutive slots."""
        start = self._start(slot, k.shape[1])
        self._k[layer, :, start : start + k.shape[1]] = k
        self._v[layer, :, start : start + k.shape[1]] = v
        if self.on_write is not None:
            self.on_write(slot, -(-k.shape[1] // self.shape.page_tokens))

    def append(self, layer: int, tokens: Tensor, k: Tensor, v: Tensor) -> None:
        """Store k, v [n, kv_heads, head_dim] at pool tokens [n] (slot * page_tokens + offset)."""
        self._k[layer].index_copy_(1, tokens, k.transpose(0, 1))
        self._v[layer].index_copy_(1, tokens, v.transpose(0, 1))

    def read(self, layer: int, slot: int, tokens: int) -> tuple[Tensor, Tensor]:
        """Views [kv_heads, tokens, head_dim] of K and V from the start of `slot` on."""
        start = self._start(slot, tokens)
        return self._k[layer, :, start : start + tokens], self._v[layer, :, start : start + tokens]

    def pages(self, layer: int) -> tuple[Tensor, Tensor]:
        """Views [kv_heads, slots, page_tokens, head_dim] of all of a layer's K and V."""
        cut = (self.slots, self.shape.page_tokens)
        return self._k[layer].unflatten(1, cut), self._v[layer].unflatten(1, cut)

    def lookup(self, pages: Sequence[Run]) -> Lookup:
        """Prepare reading `pages` (local pages in order; only the last may be partly filled)."""
        runs = tuple(join_runs(pages, self.shape.page_tokens))
        tokens = sum(run.tokens for run in runs)
        if len(runs) == 1 or tokens >= VIEWED_RUN_TOKENS * len(runs):
            return Lookup(runs, None, tokens)
        return Lookup(runs, torch.tensor([page.slot for page in pages], device=self.device), tokens)

    def blocks(self, layer: int, lookup: Lookup) -> list[tuple[Tensor, Tensor]]:
        """K and V [kv_heads, n, head_dim] of the tokens looked up, in one or more blocks."""
        if lookup.slots is None:
            return [self.read(layer, run.slot, run.tokens) for run in lookup.runs]
        return [(self._gather(self._k[layer], lookup), self._gather(self._v[layer], lookup))]

    def _gather(self, stored: Tensor, lookup: Lookup) -> Tensor:
        shape = self.shape
        assert lookup.slots is not None
        pages = stored.view(shape.kv_heads, self.slots, -1).index_select(1, lookup.slots)
        return pages.view(shape.kv_heads, -1, shape.head_dim)[:, : lookup.tokens]

    def _start(self, slot: int, tokens: int) -> int:
        start = slot * self.shape.page_tokens
        if slot < 0 or start + tokens > self.slots * self.shape.page_tokens:
            raise IndexError(f"{tokens} tokens from slot {slot} on lie outside a pool of {self.slots} slots")
        return start
