"""Decode attention in which each holder reads the blocks of its pages that weigh enough, by one exchanged maximum.

Per layer:  A  home sends q to every other holder, and k, v to the owner of the tail page    (all-to-all)
            B  holders score their blocks for all queries that they serve
            C  holders of a request tell each other the largest score of each head            (all-to-all)
            D  holders attend to the blocks near the largest, to sinks, recent pages and the tail
            E  partial outputs and their log-sum-exp return to the homes                     (all-to-all)
            F  homes merge by rank number
What is chosen depends on the blocks alone, not on who holds them. Short requests, and the first layers, are exact.
In one layer a step, each in turn, homes also learn what all blocks weigh, and what those left out could at most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from csps_engine.attention.partial import Partial, merge_many
from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import ChoiceReport, PageTable, StepPlan
from csps_engine.model.config import ModelConfig
from csps_engine.pipeline.chosen_pages import ChosenPages, Reader
from csps_engine.pipeline.decode_attention import DecodeAttention, StepPages
from csps_engine.pipeline.maximum_exchange import MaximumExchange
from csps_engine.pipeline.routes import Routes, holders_of

NOTHING = -math.inf


class ChosenAttention(DecodeAttention):
    """One rank's part in one step; `attend` for each layer in turn, then `report`."""

    def __init__(
        self,
        config: ModelConfig,
        routes: Routes,
        plan: StepPlan,
        tables: Mapping[str, PageTable],
        reader: Reader,
        mesh: Mesh,
    ) -> None:
        pages = StepPages(plan, tables, reader.pool, mesh.rank)
        super().__init__(config, routes, pages, reader.pool, mesh)
        self._layers = config.layers
        self._rule = reader.rule
        holders = holders_of(plan, tables)
        long = [row.position + 1 >= reader.rule.min_tokens for row in plan.rows]
        served = [routes.mine[n] for n in routes.local_q] + [row for home in routes.receive_q for row in home]
        chosen = [n for n, row in enumerate(served) if long[row]]
        exact = [n for n, row in enumerate(served) if not long[row]]
        self._plan = plan
        self._long = [i for i, is_long in enumerate(long) if is_long]
        self._chosen, self._exact = (
            torch.tensor(part, dtype=torch.long, device=mesh.device) for part in (chosen, exact)
        )
        self._exact_pages = pages.attention(served[n] for n in exact)
        requests = [(plan.rows[i], tables[plan.rows[i].request_id]) for i in (served[n] for n in chosen)]
        self._chosen_pages = ChosenPages(reader, requests, mesh.rank)
        shared = [held if is_long else frozenset[int]() for held, is_long in zip(holders, long, strict=True)]
        self._maximum = MaximumExchange(mesh, [served[n] for n in chosen], shared)
        self._served = [served[n] for n in chosen]
        self._audited = plan.rows[0].position % (self._layers - self._rule.dense_layers) + self._rule.dense_layers
        self._read = torch.zeros(len(chosen), dtype=torch.long, device=mesh.device)
        self._left = torch.zeros(len(routes.mine), dtype=torch.float64, device=mesh.device)
        self._covered = torch.zeros_like(self._left)
        self._mine = routes.mine

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if layer < self._rule.dense_layers:
            return super().attend(layer, q, k, v)
        local, size = q[self._local_q], q.shape[2]
        if self._exchange is None:
            # Every own row is here and here alone.
            self._pool.append(layer, self._local_tails, k, v)
            results = self._serve_all(layer, local)
            self._audit(layer, results[..., size:])
            return results[..., :size].to(q.dtype)
        sent = self._exchange.send(q, k, v)
        self._pool.append(layer, self._local_tails, k[self._local_kv], v[self._local_kv])
        visitors = self._exchange.receive(sent)
        self._pool.append(layer, self._visiting_tails, visitors.k, visitors.v)
        results = self._serve_all(layer, torch.cat([local, visitors.q]))
        own, others = results.tensor_split([len(local)])
        parts = results.new_full((self._mesh.size, *q.shape[:2], results.shape[2]), NOTHING)
        parts[..., :size] = 0
        parts[self._mesh.rank].index_copy_(0, self._local_q, own)
        for rank, (rows, result) in enumerate(self._exchange.give_back(others.contiguous())):
            parts[rank].index_copy_(0, rows, result)
        merged = merge_many(parts[..., :size].contiguous(), parts[..., size].contiguous())
        self._audit(layer, parts[..., size:].logsumexp(0))
        return merged.out.to(q.dtype)

    def report(self) -> dict[str, ChoiceReport]:
        """What was read of each long request, by id, in this step; the same on every rank. Collective."""
        if not self._long:
            return {}
        sums = torch.zeros(len(self._plan.rows), 4, dtype=torch.float64, device=self._mesh.device)
        layers = self._layers - self._rule.dense_layers
        served = torch.tensor(self._served, dtype=torch.long, device=self._mesh.device)
        sums[served, 0] = self._read.double()
        sums[served, 1] = self._chosen_pages.blocks.double() * layers
        mine = torch.tensor(self._mine, dtype=torch.long, device=self._mesh.device)
        sums[mine, 2] = self._left
        sums[mine, 3] = self._covered
        sums = sums[torch.tensor(self._long, device=sums.device)]
        every = sums.new_empty(self._mesh.size, *sums.shape)
        self._mesh.all_gather_into(every, sums).wait()
        told = every.sum(0).tolist()
        return {
            self._plan.rows[i].request_id: ChoiceReport(
                read_tokens=int(read) * self._rule.block_tokens,
                skipped_tokens=int(blocks - read) * self._rule.block_tokens,
                left_bound=left,
                covered=covered,
            )
            for i, (read, blocks, left, covered) in zip(self._long, told, strict=True)
        }

    def _serve_all(self, layer: int, q: Tensor) -> Tensor:
        """Results fp32 of all queries [n, H, D] that are served here: [n, H, D + 1], in the audited layer D + 3."""
        if not len(self._exact):
            return self._choose(layer, q)
        exact = self._exact_pages.attend(layer, q[self._exact])
        more = (torch.full_like(exact.lse, NOTHING), exact.lse) if layer == self._audited else ()
        rows = _row(exact, more)
        results = rows.new_empty(len(q), *rows.shape[1:])
        results.index_copy_(0, self._exact, rows)
        return results.index_copy_(0, self._chosen, self._choose(layer, q[self._chosen]))

    def _choose(self, layer: int, q: Tensor) -> Tensor:
        pages = self._chosen_pages
        scores = pages.score(layer, q)
        found = pages.read(layer, q, scores, self._maximum.widest(scores.expected.amax(2)))
        self._read += found.read
        return _row(found.partial, (found.left, pages.exact(layer, q).lse) if layer == self._audited else ())

    def _audit(self, layer: int, sums: Tensor) -> None:
        """Take what own rows have of the weight [n, H], what was left out at most, and all there is."""
        if layer == self._audited:
            held, left, exact = sums.double().unbind(-1)
            self._left = torch.exp(left - torch.logaddexp(left, held)).mean(1)
            self._covered = torch.exp(held - exact).clamp(0, 1).mean(1)


def _row(partial: Partial, more: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([partial.out.float(), *(column.unsqueeze(-1) for column in (partial.lse, *more))], -1)
