"""Attention of single queries over the pages of their requests: one kernel launch on a GPU, row by row on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from csps_engine.attention.attend import attend
from csps_engine.attention.partial import Partial, merge, nothing
from csps_engine.kernels.choice import kernels_for
from csps_engine.kernels.launchers import Launchers
from csps_engine.kv.pool import KvPool, Lookup
from csps_engine.kv.runs import Run


class PagedAttention(Protocol):
    """Requests of one step, their pages looked up once for all layers."""

    def attend(self, layer: int, q: Tensor) -> Partial:
        """One query a request, q [n, H, D] in the requests' order, over the pages held here."""
        ...


def paged_attention(pool: KvPool, requests: Sequence[Sequence[Run]]) -> PagedAttention:
    """For requests given by their local pages in order; only the last page may be partly filled."""
    kernels = kernels_for(pool.pages(0)[0])
    return ViewedPages(pool, requests) if kernels is None else PageTable(pool, requests, kernels)


class ViewedPages:
    """Each row by itself, over views of the pool where its pages are neighbours."""

    def __init__(self, pool: KvPool, requests: Sequence[Sequence[Run]]) -> None:
        self._pool = pool
        self._lookups = [pool.lookup(pages) for pages in requests]

    def attend(self, layer: int, q: Tensor) -> Partial:
        if not self._lookups:
            return nothing(q)
        rows = [self._over(layer, q[i : i + 1], where) for i, where in enumerate(self._lookups)]
        return Partial(*(torch.cat(column) for column in zip(*rows, strict=True)))

    def _over(self, layer: int, q: Tensor, where: Lookup) -> Partial:
        (k, v), *others = self._pool.blocks(layer, where)
        partial = attend(q, k, v, causal=False)
        for k, v in others:
            partial = merge(partial, attend(q, k, v, causal=False))
        return partial


class PageTable:
    """All rows by one kernel over a table of slots."""

    def __init__(self, pool: KvPool, requests: Sequence[Sequence[Run]], kernels: Launchers) -> None:
        self._pool = pool
        self._kernels = kernels
        longest = max((len(pages) for pages in requests), default=0)
        slots = [[page.slot for page in pages] + [0] * (longest - len(pages)) for pages in requests]
        tokens = [sum(page.tokens for page in pages) for pages in requests]
        # One transfer: a row is its length, then its slots.
        rows = [[length, *row] for length, row in zip(tokens, slots, strict=True)]
        whole = torch.tensor(rows, dtype=torch.int32).view(len(requests), 1 + longest).to(pool.device)
        self._lengths, self._slots = whole[:, 0].contiguous(), whole[:, 1:]

    def attend(self, layer: int, q: Tensor) -> Partial:
        return Partial(*self._kernels.attend_pages(q, self._pool.pages(layer), self._slots, self._lengths))
