"""Attention of one decode step over KV pages that are spread over the ranks.

Per layer:  A  home sends q to every other holder, and k, v to the owner of the tail page    (all-to-all)
            B  meanwhile it stores what stays and attends to its own pages
            C  holders store what came and attend to their pages for others' queries
            D  partial outputs and their log-sum-exp return to the homes                     (all-to-all)
            E  homes merge by rank number, in fp32, so that the result does not depend on arrival
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from csps_engine.attention.paged import PagedAttention, paged_attention
from csps_engine.attention.partial import merge_many
from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import PageTable, StepPlan
from csps_engine.kv.pool import KvPool
from csps_engine.kv.runs import local_pages
from csps_engine.model.config import ModelConfig
from csps_engine.pipeline.decode_exchange import DecodeExchange
from csps_engine.pipeline.routes import Routes


class StepAttention(Protocol):
    """Attention of one step's rows, layer by layer."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Output [n, H, D] of own rows' q [n, H, D], after storing k, v [n, K, D]. Collective."""
        ...


class StepPages:
    """Where this rank finds and stores the KV of a step's rows."""

    def __init__(self, plan: StepPlan, tables: Mapping[str, PageTable], pool: KvPool, rank: int) -> None:
        self._rows = plan.rows
        self._tables = tables
        self._pool = pool
        self._rank = rank

    def attention(self, rows: Iterable[int]) -> PagedAttention:
        """Attention over the pages held here of each row's request, the new token's included."""
        held = [
            local_pages(self._tables[row.request_id], self._rank, row.position + 1)
            for row in (self._rows[i] for i in rows)
        ]
        return paged_attention(self._pool, held)

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
        self._local_q = torch.tensor(routes.local_q, dtype=torch.long, device=pool.device)
        self._local = pages.attention(routes.mine[n] for n in routes.local_q)
        self._local_kv = torch.tensor(routes.local_kv, dtype=torch.long, device=pool.device)
        self._local_tails = pages.tails(routes.mine[n] for n in routes.local_kv)
        self._visiting = pages.attention(row for home in routes.receive_q for row in home)
        self._visiting_tails = pages.tails(row for home in routes.receive_kv for row in home)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Output [n, H, D] of own rows' q [n, H, D], after storing k, v [n, K, D]. Collective if pages are spread."""
        if self._exchange is None:
            self._pool.append(layer, self._local_tails, k, v)
            return self._local.attend(layer, q).out
        sent = self._exchange.send(q, k, v)
        self._pool.append(layer, self._local_tails, k[self._local_kv], v[self._local_kv])
        out = torch.zeros((self._mesh.size, *q.shape), dtype=torch.float32, device=q.device)
        lse = torch.full(out.shape[:-1], float("-inf"), device=q.device)
        local = self._local.attend(layer, q[self._local_q])
        out[self._mesh.rank].index_copy_(0, self._local_q, local.out.float())
        lse[self._mesh.rank].index_copy_(0, self._local_q, local.lse)
        visitors = self._exchange.receive(sent)
        self._pool.append(layer, self._visiting_tails, visitors.k, visitors.v)
        returned = self._exchange.give_back(self._serve(layer, visitors.q))
        for rank, (rows, result) in enumerate(returned):
            out[rank].index_copy_(0, rows, result[..., :-1])
            lse[rank].index_copy_(0, rows, result[..., -1])
        return merge_many(out, lse).out.to(q.dtype)

    def _serve(self, layer: int, visitors: Tensor) -> Tensor:
        """Partial output and log-sum-exp [n, H, D+1] of visiting queries [n, H, D]."""
        partial = self._visiting.attend(layer, visitors)
        return torch.cat([partial.out.float(), partial.lse.unsqueeze(-1)], -1)
