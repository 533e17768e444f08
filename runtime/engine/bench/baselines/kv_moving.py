"""Decode that moves KV: the home gathers all pages of its requests from their holders, every layer of every step.

This is what sequence-parallel decode does that keeps the prefill's exchange of K and V (as the authors' prototype).
All layers' fetches are exact; homes fetch at once, so that with a home on every rank all links are in use.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from csps_engine.attention.attend import attend
from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import DecodeRow, PageTable, StepPlan
from csps_engine.kv.pool import KvPool, Lookup
from csps_engine.kv.runs import local_pages
from csps_engine.pipeline.decode import DecodeRunner
from csps_engine.pipeline.routes import Routes


class KvMovingDecode(DecodeRunner):
    """The engine's decode with another attention."""

    def attention(self, plan: StepPlan, tables: Mapping[str, PageTable], routes: Routes) -> KvMovingAttention:
        return KvMovingAttention(plan, tables, self._pool, self._mesh)


class KvMovingAttention:
    """One rank's part in the attention of one step; `attend` is called for each layer in turn."""

    def __init__(self, plan: StepPlan, tables: Mapping[str, PageTable], pool: KvPool, mesh: Mesh) -> None:
        self._pool, self._mesh = pool, mesh
        self._rows = plan.rows
        size = pool.shape.page_tokens
        places = [tables[row.request_id].tail(row.position) for row in plan.rows]
        self._tail_rank = [place.rank for place in places]
        self._tail_token = [p.slot * size + row.position % size for p, row in zip(places, plan.rows, strict=True)]
        self._own = [i for i, row in enumerate(plan.rows) if row.home == mesh.rank]
        self._held = [
            [self._tokens(row, tables, rank) for rank in range(mesh.size)] for row in plan.rows
        ]  # tokens by row and holder, the new token not counted
        self._lookups = [self._lookup(row, tables) for row in plan.rows]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Output [n, H, D] of own rows' q [n, H, D], given their k, v [n, K, D]. Collective."""
        remote = self._fetch(layer)
        self._append(layer, k, v)
        outs = []
        for n, i in enumerate(self._own):
            new = torch.stack([k[n], v[n]]).unsqueeze(2)  # [2, K, 1, D]
            parts = [*self._stored(layer, i), *remote[n], new]
            every = torch.cat(parts, 2)
            outs.append(attend(q[n : n + 1], every[0], every[1], causal=False).out)
        return torch.cat(outs) if outs else q

    def _fetch(self, layer: int) -> list[list[Tensor]]:
        """K and V [2, K, n, D] of own rows, from each other holder."""
        mesh, shape = self._mesh, self._pool.shape
        outgoing: list[Tensor] = []
        sent, received = [0] * mesh.size, [0] * mesh.size
        for peer in range(mesh.size):
            for i, row in enumerate(self._rows):
                if row.home == peer and peer != mesh.rank:
                    outgoing += [torch.cat(parts, 2).flatten(0, 2)] if (parts := self._stored(layer, i)) else []
                    sent[peer] += 2 * shape.kv_heads * self._held[i][mesh.rank]
                elif row.home == mesh.rank and peer != mesh.rank:
                    received[peer] += 2 * shape.kv_heads * self._held[i][peer]
        dtype = getattr(torch, shape.dtype)
        arriving = torch.empty(sum(received), shape.head_dim, dtype=dtype, device=mesh.device)
        rows = torch.cat(outgoing) if outgoing else arriving.new_empty(0, shape.head_dim)
        mesh.all_to_all_single(arriving, rows, received, sent).wait()
        by_row: list[list[Tensor]] = [[] for _ in self._own]
        for peer, part in enumerate(arriving.split(received)):
            counts = [2 * shape.kv_heads * self._held[i][peer] if peer != mesh.rank else 0 for i in self._own]
            for n, kv in enumerate(part.split(counts)):
                by_row[n].append(kv.view(2, shape.kv_heads, -1, shape.head_dim))
        return by_row

    def _append(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Bring each new token's K and V [n, K, D] to the owner of its page."""
        mesh = self._mesh
        kv = torch.stack([k, v], 1)  # [n, 2, K, D]
        outgoing = [kv[n] for rank in range(mesh.size) for n, i in enumerate(self._own) if self._tail_rank[i] == rank]
        sent = [sum(self._tail_rank[i] == rank for i in self._own) for rank in range(mesh.size)]
        mine = [i for i, tail in enumerate(self._tail_rank) if tail == mesh.rank]
        by_home = sorted(mine, key=lambda i: (self._rows[i].home, i))
        received = [sum(self._rows[i].home == rank for i in mine) for rank in range(mesh.size)]
        arriving = kv.new_empty(len(mine), *kv.shape[1:])
        mesh.all_to_all_single(arriving, torch.stack(outgoing) if outgoing else kv[:0], received, sent).wait()
        tokens = torch.tensor([self._tail_token[i] for i in by_home], dtype=torch.long, device=mesh.device)
        self._pool.append(layer, tokens, arriving[:, 0], arriving[:, 1])

    def _stored(self, layer: int, row: int) -> list[Tensor]:
        """K and V [2, K, n, D] of a row's tokens held here, in blocks."""
        lookup = self._lookups[row]
        return [] if lookup is None else [torch.stack([k, v]) for k, v in self._pool.blocks(layer, lookup)]

    def _lookup(self, row: DecodeRow, tables: Mapping[str, PageTable]) -> Lookup | None:
        pages = local_pages(tables[row.request_id], self._mesh.rank, row.position)
        return self._pool.lookup(pages) if pages else None

    def _tokens(self, row: DecodeRow, tables: Mapping[str, PageTable], rank: int) -> int:
        return sum(run.tokens for run in local_pages(tables[row.request_id], rank, row.position))
