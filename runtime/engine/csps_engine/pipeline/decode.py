"""One decode step of a pool of ranks: Q moves, KV stays.

home:    x = embed(tokens of own rows)
for each layer:  q, k, v = own rows;  attention over all holders (the one part that communicates);  x = finish
home:    logits, sample;  every rank learns every token
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import DecodeRow, PageTable, SampledToken, StepPlan, StepResult
from csps_engine.kv.pool import KvPool
from csps_engine.model.llama import Llama
from csps_engine.pipeline.chosen_attention import ChosenAttention
from csps_engine.pipeline.chosen_pages import Reader
from csps_engine.pipeline.decode_attention import DecodeAttention, StepAttention, StepPages
from csps_engine.pipeline.graphed_layers import GraphedLayers
from csps_engine.pipeline.routes import Routes, plan_routes
from csps_engine.pipeline.token_exchange import share_tokens
from csps_engine.sampling import sample


class DecodeRunner:
    """Runs steps one after another on one rank."""

    def __init__(
        self,
        model: Llama,
        mesh: Mesh,
        pool: KvPool,
        reader: Reader | None = None,
        graphs: GraphedLayers | None = None,
    ) -> None:
        """`reader` chooses which blocks of long requests are read; None: all are. `graphs`: recordings of the model."""
        self._model = model
        self._mesh = mesh
        self._pool = pool
        self._reader = reader
        self._graphs = graphs

    def step(self, plan: StepPlan, tables: Mapping[str, PageTable]) -> StepResult:
        """Append each row's token and sample the next. Collective; every rank passes the same plan and tables."""
        if not plan.rows:
            return StepResult({})
        with torch.inference_mode():
            return self._step(plan, tables)

    def _step(self, plan: StepPlan, tables: Mapping[str, PageTable]) -> StepResult:
        routes = plan_routes(plan, tables, self._mesh.rank, self._mesh.size)
        mine = [plan.rows[i] for i in routes.mine]
        sampled: list[SampledToken] = []
        choosing = None if self._reader is None else self._choosing(self._reader, plan, tables, routes)
        if mine or routes.communicates:
            logits = self._model.logits(self._dense(mine, choosing or self.attention(plan, tables, routes)))
            sampled = [
                sample(row_logits, row.sampling, row.position + 1) for row_logits, row in zip(logits, mine, strict=True)
            ]
        top = max(row.sampling.logprobs for row in plan.rows)
        by_home = [iter(tokens) for tokens in share_tokens(self._mesh, sampled, routes.homes, top)]
        told = choosing.report() if choosing else {}
        return StepResult({row.request_id: next(by_home[row.home]) for row in plan.rows}, told)

    def attention(self, plan: StepPlan, tables: Mapping[str, PageTable], routes: Routes) -> StepAttention:
        """How this step attends; a runner that moves something else than Q replaces it."""
        pages = StepPages(plan, tables, self._pool, self._mesh.rank)
        return DecodeAttention(self._model.config, routes, pages, self._pool, self._mesh)

    def _choosing(
        self, reader: Reader, plan: StepPlan, tables: Mapping[str, PageTable], routes: Routes
    ) -> ChosenAttention | None:
        """None where every row is short, or the model shallow: all is read."""
        rule = reader.rule
        if self._model.config.layers <= rule.dense_layers or all(r.position + 1 < rule.min_tokens for r in plan.rows):
            return None
        return ChosenAttention(self._model.config, routes, plan, tables, reader, self._mesh)

    def _dense(self, mine: list[DecodeRow], attention: StepAttention) -> Tensor:
        model = self._model
        x = model.embed(torch.tensor([row.token_id for row in mine], dtype=torch.long, device=model.device))
        turn = model.turn(torch.tensor([row.position for row in mine], dtype=torch.long, device=model.device))
        recorded = self._graphs.run(x, turn, attention) if self._graphs else None
        if recorded is not None:
            return recorded
        for layer in range(model.config.layers):
            q, k, v = model.qkv(layer, x, turn)
            model.finish(layer, x, attention.attend(layer, q, k, v))
        return x
