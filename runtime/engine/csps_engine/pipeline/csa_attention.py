"""Sequence-parallel prefill attention in which queries stay and only keys and values that matter travel.

Partition as in kv_gather. Per layer, → being an exchange under way while the next line computes:
    digests of own key blocks → all;  sinks and recent blocks → who sees them;  tail and audited queries → all
    own queries x own keys; then x the sinks and recent blocks
    from digests, what the queries would miss without each block; what they need is asked for
    chosen blocks →, one exchange a level;  answers to the others' tail and audited queries →
    own queries x chosen blocks, as levels arrive
    the tail's output is replaced by its exact one
Every (query, key) pair counts once: levels and unasked blocks are disjoint, tail queries are left out of the
sparse path. Coverage is audited in every layer, and below its floor the next ones fetch more.
"""

from __future__ import annotations

import torch
from torch import Tensor

from csps_engine.attention.attend import attend
from csps_engine.attention.partial import Partial
from csps_engine.comm.mesh import Mesh, Pending
from csps_engine.core.plan import SparseReport
from csps_engine.csa.coverage import Coverage
from csps_engine.csa.digest import digest
from csps_engine.csa.fetch import Rows, ask, fetch, token_mask
from csps_engine.csa.floor import Floor
from csps_engine.csa.join import join
from csps_engine.csa.layout import Layout
from csps_engine.csa.levels import levels_for
from csps_engine.csa.moved import MovedQueries
from csps_engine.csa.need import Demand, EstimateRule, expected_weight, need
from csps_engine.csa.packing import EightBit, Packing, Plain
from csps_engine.csa.reach import Reach
from csps_engine.csa.selection import Wishes, wish
from csps_engine.csa.settings import CsaSettings
from csps_engine.pipeline.kv_gather import KvGatherAttention
from csps_engine.pipeline.partition import owner, zigzag


class CsaAttention:
    """Sparse attention of one prompt of `tokens` tokens over two or more ranks; attend() is called layer by layer."""

    def __init__(
        self, mesh: Mesh, tokens: int, settings: CsaSettings, estimate: EstimateRule = expected_weight
    ) -> None:
        spans = zigzag(tokens, mesh.size)
        self._mesh = mesh
        self._settings = settings
        self._estimate = estimate
        self._layout = Layout(spans, settings)
        self._reach = Reach(self._layout, levels_for(settings.levels, mesh.size), mesh.rank, settings)
        self._exact = KvGatherAttention(mesh, tokens)
        self._layer = 0
        self._floor = Floor(settings.quality_floor)
        self._coverage = Coverage(len(self._reach.levels))
        self.own = spans[mesh.rank]
        self.last_owner = owner(spans, tokens - 1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Output [n, H, D] of own queries q [n, H, D], given own k, v [K, n, D]."""
        layer, self._layer = self._layer, self._layer + 1
        if layer < self._settings.dense_layers:
            return self._exact.attend(q, k, v)
        return self._sparse(layer, q, k, v)

    def report(self) -> SparseReport:
        """After the last layer. Collective."""
        return self._coverage.report(self._mesh)

    def _sparse(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mesh, reach = self._mesh, self._reach
        own = digest(k, self._settings.block_tokens)
        digests, gathering = self._gather(own)
        moved = MovedQueries(mesh, self._layout, layer, q)
        packing = self._packing(k, v, own, digests)
        given = fetch(mesh, packing, *reach.unasked(k.shape[0], mesh.device))
        local = attend(q, k, v, causal=True)  # own tokens rise in position, so index order is causal order
        regular = self._layout.regular(mesh.rank)
        early = min(regular, self._layout.early_tokens(mesh.rank))
        asking = q[:regular]
        gathering.wait()
        held = join(Partial(local.out[:regular], local.lse[:regular]), asking, given.wait(), mesh.rank, early)
        wishes = self._wishes(layer, asking, held.lse, digests)
        chosen = self._fetch_chosen(wishes, packing)
        moved.answer(k, v)
        for rows in chosen:
            held = join(held, asking, rows.wait(), mesh.rank, early)
        exact = moved.merge(local)
        self._count(given, chosen, k)
        self._coverage.audit(held.lse[moved.audited], exact.audited)
        self._floor.heard(self._coverage.mean)
        return torch.cat([held.out, exact.tail])

    def _gather(self, mine: Tensor) -> tuple[Tensor, Pending]:
        """Digests [P, blocks, K, 2D+4] of all ranks, once what is under way has ended."""
        padded = mine.new_zeros(self._layout.longest_blocks, *mine.shape[1:])
        padded[: mine.shape[0]] = mine
        gathered = padded.new_empty(self._mesh.size, *padded.shape)
        return gathered, self._mesh.all_gather_into(gathered, padded)

    def _packing(self, k: Tensor, v: Tensor, own: Tensor, digests: Tensor) -> Packing:
        if self._settings.packing == "plain":
            return Plain(k, v)
        return EightBit(k, v, own, digests, self._settings.block_tokens)

    def _wishes(self, layer: int, q: Tensor, lse: Tensor, digests: Tensor) -> Wishes:
        """What own queries q [T, H, D], which hold lse [T, H], would fetch of the candidates."""
        settings = self._settings
        seen = torch.cat([part[at.to(q.device)] for part, at in zip(digests, self._reach.candidates, strict=True)])
        voters = self._voters(q.shape[0], q.device)
        early = voters < self._layout.early_tokens(self._mesh.rank)
        unseen = early.unsqueeze(1) & self._reach.early_unseen(q.device)
        kv_heads = digests.shape[2]
        group = q.shape[1] // kv_heads
        needs = []
        for head in range(kv_heads):
            mine = slice(head * group, (head + 1) * group)
            weights = self._estimate(q[voters, mine].flatten(0, 1), seen[:, head], settings.block_tokens)
            weights = weights.masked_fill(unseen.repeat_interleave(group, 0), float("-inf"))
            tolerance = settings.tolerance_of(layer, head) * self._floor.factor
            demand = Demand(tolerance, settings.served, settings.gamma)
            needs.append(need(weights, lse[voters, mine].flatten(), demand))
        return wish(needs)

    def _voters(self, regular: int, device: torch.device) -> Tensor:
        every = max(self._settings.vote_every, -(-regular // self._settings.most_voters))
        return torch.arange(0, regular, every, device=device)

    def _fetch_chosen(self, wishes: Wishes, packing: Packing) -> list[Rows]:
        mesh, reach, block, layout = self._mesh, self._reach, self._settings.block_tokens, self._layout
        wanted, cut = reach.choose(wishes, self._floor.budgets_hold)
        self._coverage.cut_blocks += cut
        asked = ask(mesh, wanted, layout.blocks(mesh.rank))
        give = [token_mask(mask, block, layout.tokens(mesh.rank)) for mask in asked]
        take = [token_mask(mask, block, layout.tokens(source)) for source, mask in enumerate(wanted)]
        return [fetch(mesh, packing, *reach.at_level(level, give, take)) for level in range(len(reach.levels))]

    def _count(self, given: Rows, chosen: list[Rows], k: Tensor) -> None:
        coverage = self._coverage
        coverage.layers += 1
        rows = self._reach.visible_tokens * k.shape[0]
        coverage.available_rows += rows
        coverage.available_bytes += rows * 2 * k.shape[2] * k.element_size()
        for part in (given, *chosen):
            coverage.fetched_rows += part.tokens
            coverage.fetched_bytes += part.bytes
        for level, part in enumerate(chosen):
            coverage.level_bytes[level] += part.bytes
