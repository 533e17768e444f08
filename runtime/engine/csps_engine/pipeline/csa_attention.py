"""Sequence-parallel prefill attention in which queries stay and only keys and values that matter travel.

Partition as in kv_gather. Per layer, → being an exchange under way while the next line computes:
    digests of own key blocks → all;  sinks and recent blocks → who sees them;  tail and audited queries → all
    voting queries x own keys; then x the sinks and recent blocks
    from digests, what the voters would miss without each block; what they need is asked for
    chosen blocks →, one exchange a level;  answers to the others' tail and audited queries →
    own queries x own keys, sinks and recent blocks
    own queries x chosen blocks, as levels arrive: each tile of queries reads those that its voters look at
    the tail's output is replaced by its exact one
Every (query, key) pair counts once: levels and unasked blocks are disjoint, tail queries are left out of the
sparse path. Coverage is audited in every layer, and below its floor the next ones fetch more.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from csps_engine.attention.listed import tile_queries
from csps_engine.attention.partial import Partial
from csps_engine.comm.mesh import Mesh, Pending
from csps_engine.core.plan import SparseReport
from csps_engine.csa.arrival import Arrival, arrange
from csps_engine.csa.coverage import Coverage
from csps_engine.csa.digest import digest
from csps_engine.csa.fetch import Rows, ask, fetch, token_mask
from csps_engine.csa.floor import Floor
from csps_engine.csa.join import Reading, join
from csps_engine.csa.layout import Layout
from csps_engine.csa.levels import levels_for
from csps_engine.csa.moved import MovedQueries
from csps_engine.csa.need import Demand, EstimateRule, expected_weight, need
from csps_engine.csa.own import Least, attend_own, attend_own_last
from csps_engine.csa.packing import EightBit, Packing, Plain
from csps_engine.csa.reach import Reach
from csps_engine.csa.selection import Wishes, wish
from csps_engine.csa.settings import CsaSettings
from csps_engine.csa.voters import Voters, hear
from csps_engine.csa.worth import Tiles, worth_reading
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
        self._regular = self._layout.regular(mesh.rank)
        self._early = min(self._regular, self._layout.early_tokens(mesh.rank))
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
        asking = q[: self._regular]
        tiles = Tiles(self._early, self._regular, tile_queries(q))
        voters = self._voters(asking, k, tiles)
        gathering.wait()
        unasked = arrange(given.whole(), reach.unasked_blocks(k.shape[0], mesh.device), self._layout)
        wishes, worth = self._wishes(layer, voters, self._holding(voters, unasked, k.shape[0]), digests)
        chosen, taken = self._fetch_chosen(wishes, packing)
        # The chosen keys travel while own ones are attended to.
        moved.answer(k, v)
        regular = len(asking)
        held = attend_own(asking, k[:, :regular], v[:, :regular], voters, self._least_of_own(regular))
        held = join(held, asking, unasked, self._reading(k.shape[0], tiles))
        for rows, blocks in zip(chosen, taken, strict=True):
            arrival = arrange(rows.whole(), blocks, self._layout)
            held = join(held, asking, arrival, self._reading(k.shape[0], tiles, worth))
        tail = attend_own_last(q, k, v, len(q) - regular)
        exact = moved.merge(hear(q, k, moved.audited, tiles).lse, tail)
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

    def _voters(self, q: Tensor, k: Tensor, tiles: Tiles) -> Voters:
        every = max(self._settings.vote_every, -(-q.shape[0] // self._settings.most_voters))
        return hear(q, k, torch.arange(0, q.shape[0], every, device=q.device), tiles)

    def _holding(self, voters: Voters, unasked: Arrival | None, kv_heads: int) -> Tensor:
        """Log-sum-exp [V, H] of what voters have with the blocks that came unasked."""
        early = int((voters.at < self._early).sum())
        tiles = Tiles(early, len(voters.at), voters.tiles.size)
        held = Partial(torch.zeros_like(voters.q), voters.lse)
        return join(held, voters.q, unasked, self._reading(kv_heads, tiles)).lse

    def _wishes(self, layer: int, voters: Voters, held: Tensor, digests: Tensor) -> tuple[Wishes, Tensor]:
        """What voters, which hold `held` [V, H], would fetch of the candidates, and what heads and tiles would read."""
        settings, tiles = self._settings, voters.tiles
        sender, number = (part.to(held.device) for part in self._reach.places)
        seen = digests[sender, number]
        unseen = (voters.at < tiles.early).unsqueeze(1) & self._reach.early_unseen(held.device)
        kv_heads = digests.shape[2]
        group = held.shape[1] // kv_heads
        tile, least = tiles.of(voters.at), self._least(settings.skip_share, len(number))
        worth = torch.zeros(held.shape[1], tiles.total, *digests.shape[:2], dtype=torch.bool, device=held.device)
        needs = []
        for head in range(kv_heads):
            mine = slice(head * group, (head + 1) * group)
            weights = self._estimate(voters.q[:, mine].flatten(0, 1), seen[:, head], settings.block_tokens)
            weights = weights.masked_fill(unseen.repeat_interleave(group, 0), float("-inf"))
            tolerance = settings.tolerance_of(layer, head) * self._floor.factor
            demand = Demand(tolerance, settings.served, settings.gamma)
            needs.append(need(weights, held[:, mine].flatten(), demand))
            for member, share in enumerate(needs[-1].share.unflatten(0, (-1, group)).unbind(1)):
                worth[head * group + member][:, sender, number] = worth_reading(share, tile, tiles.total, least)
        return wish(needs), worth

    def _fetch_chosen(self, wishes: Wishes, packing: Packing) -> tuple[list[Rows], list[list[Tensor]]]:
        """Rows under way, by level, and which blocks of each rank [K, its blocks] they are."""
        mesh, reach, block, layout = self._mesh, self._reach, self._settings.block_tokens, self._layout
        wanted, cut = reach.choose(wishes, self._floor.budgets_hold)
        self._coverage.cut_blocks += cut
        asked = ask(mesh, wanted, layout.blocks(mesh.rank))
        give = [token_mask(mask, block, layout.tokens(mesh.rank)) for mask in asked]
        take = [token_mask(mask, block, layout.tokens(source)) for source, mask in enumerate(wanted)]
        levels = range(len(reach.levels))
        rows = [fetch(mesh, packing, *reach.at_level(level, give, take)) for level in levels]
        return rows, [reach.at_level(level, wanted, wanted)[1] for level in levels]

    def _reading(self, kv_heads: int, tiles: Tiles, worth: Tensor | None = None) -> Reading:
        least = self._least(self._settings.skip_weight, self._reach.visible_tokens)
        return Reading(self._mesh.rank, kv_heads, tiles, worth, math.log(least) if least > 0 else -math.inf)

    def _least_of_own(self, tokens: int) -> Least:
        settings, blocks = self._settings, -(-tokens // self._settings.block_tokens)
        return Least(self._least(settings.skip_share, blocks), self._least(settings.skip_weight, tokens))

    def _least(self, skipped: float, count: int) -> float:
        """Of `count` parts, what one has at least to be read, when all the others together may have `skipped`."""
        return skipped * self._floor.factor / max(1, count)

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
