"""Attention of one decode step over KV pages that are spread over the ranks.

Per layer:  A  home sends q to every other holder, and k, v to the owner of the tail page    (all-to-all)
            B  meanwhile it stores what stays and attends to its own pages
            C  holders store what came and attend to their pages for others' queries
            D  partial outputs and their log-sum-exp return to the homes                     (all-to-all)
            E  homes merge by rank number, in fp32, so that the result does not depend on arrival
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from csps_engine.attention.attend import attend
from csps_engine.attention.partial import Partial, merge, merge_many
from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import PageTable, StepPlan
from csps_engine.kv.pool import KvPool, Lookup
from csps_engine.kv.runs import local_pages
from csps_engine.model.config import ModelConfig
from csps_engine.pipeline.decode_exchange import DecodeExchange
from csps_engine.pipeline.routes import Routes


class StepPages:
    """Where this rank finds and stores the KV of a step's rows."""

    def __init__(self, plan: StepPlan, tables: Mapping[str, PageTable], pool: KvPool, rank: int) -> None:
        self._rows = plan.rows
        self._tables = tables
        self._pool = pool
        self._rank = rank

    def lookups(self, rows: Iterable[int]) -> list[Lookup]:
        """How to read the pages held here of each row's request, the new token's included."""
        return [
            self._pool.lookup(local_pages(self._tables[row.request_id], self._rank, row.position + 1))
            for row in (self._rows[i] for i in rows)
        ]

    def tails(self, rows: Iterable[int]) -> Tensor:
        """The pool token where each row's new K and V go."""
        size = self._pool.shape.page_tokens
        tokens = [
            self._tables[row.request_id].tail(row.position).slot * size + row.position % size
            for row in (self._rows[i] for i in rows)
        ]
        return torch.tensor(tokens, dtype=torch.long, device=self._pool.device)


class DecodeAttention:
    """One rank's part in the attention of one step; `attend` is called for each layer in turn."""

    def __init__(self, config: ModelConfig, routes: Routes, pages: StepPages, pool: KvPool, mesh: Mesh) -> None:
        self._pool = pool
        self._mesh = mesh
        self._exchange = (
            DecodeExchange(routes, mesh, config.heads, config.kv_heads, config.head_dim)
            if routes.communicates
            else None
        )
        self._local = list(zip(routes.local_q, pages.lookups(routes.mine[n] for n in routes.local_q), strict=True))
        self._local_kv = torch.tensor(routes.local_kv, dtype=torch.long, device=pool.device)
        self._local_tails = pages.tails(routes.mine[n] for n in routes.local_kv)
        self._visiting = pages.lookups(row for home in routes.receive_q for row in home)
        self._visiting_tails = pages.tails(row for home in routes.receive_kv for row in home)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Output [n, H, D] of own rows' q [n, H, D], after storing k, v [n, K, D]. Collective if pages are spread."""
        if self._exchange is None:
            self._pool.append(layer, self._local_tails, k, v)
            return torch.cat([self._over(layer, q[n : n + 1], where).out for n, where in self._local])
        sent = self._exchange.send(q, k, v)
        self._pool.append(layer, self._local_tails, k[self._local_kv], v[self._local_kv])
        out = torch.zeros((self._mesh.size, *q.shape), dtype=torch.float32, device=q.device)
        lse = torch.full(out.shape[:-1], float("-inf"), device=q.device)
        for n, where in self._local:
            partial = self._over(layer, q[n : n + 1], where)
            out[self._mesh.rank, n], lse[self._mesh.rank, n] = partial.out[0], partial.lse[0]
        visitors = self._exchange.receive(sent)
        self._pool.append(layer, self._visiting_tails, visitors.k, visitors.v)
        returned = self._exchange.give_back(self._serve(layer, visitors.q))
        for rank, (rows, result) in enumerate(returned):
            out[rank].index_copy_(0, rows, result[..., :-1])
            lse[rank].index_copy_(0, rows, result[..., -1])
        return merge_many(out, lse).out.to(q.dtype)

    def _serve(self, layer: int, visitors: Tensor) -> Tensor:
        """Partial output and log-sum-exp [n, H, D+1] of visiting queries [n, H, D]."""
        results = visitors.new_empty(*visitors.shape[:-1], visitors.shape[-1] + 1, dtype=torch.float32)
        for i, where in enumerate(self._visiting):
            partial = self._over(layer, visitors[i : i + 1], where)
            results[i, :, :-1], results[i, :, -1] = partial.out[0], partial.lse[0]
        return results

    def _over(self, layer: int, q: Tensor, where: Lookup) -> Partial:
        """One query [1, H, D] over the local pages of its request."""
        (k, v), *others = self._pool.blocks(layer, where)
        partial = attend(q, k, v, causal=False)
        for k, v in others:
            partial = merge(partial, attend(q, k, v, causal=False))
        return partial
