"""Sequence-parallel prefill attention in which queries stay and only keys and values that matter travel.

Partition as in kv_gather. Per layer, → being an exchange under way while the next line computes:
    digests of own key blocks → all;  sinks and recent blocks → who sees them;  tail and audited queries → all
    own queries x own keys; then x the sinks and recent blocks
    votes for remote blocks by what they could add; the best within each level's budget are asked for
    chosen blocks →, one exchange a level;  answers to the others' tail and audited queries →
    own queries x chosen blocks, as levels arrive
    the tail's output is replaced by its exact one
Every (query, key) pair counts once: levels and unasked blocks are disjoint, tail queries are left out of the
sparse path. The first layers are exact, since later ones build on them.
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
from csps_engine.csa.join import join
from csps_engine.csa.layout import Layout
from csps_engine.csa.levels import levels_for
from csps_engine.csa.moved import MovedQueries
from csps_engine.csa.reach import Reach
from csps_engine.csa.settings import CsaSettings
from csps_engine.csa.votes import VoteRule, neediest
from csps_engine.pipeline.kv_gather import KvGatherAttention
from csps_engine.pipeline.partition import owner, zigzag


class CsaAttention:
    """Sparse attention of one prompt of `tokens` tokens over two or more ranks; attend() is called layer by layer."""

    def __init__(self, mesh: Mesh, tokens: int, settings: CsaSettings, vote: VoteRule = neediest) -> None:
        spans = zigzag(tokens, mesh.size)
        self._mesh = mesh
        self._settings = settings
        self._vote = vote
        self._layout = Layout(spans, settings)
        self._reach = Reach(self._layout, levels_for(settings.levels, mesh.size), mesh.rank, settings)
        self._exact = KvGatherAttention(mesh, tokens)
        self._layer = 0
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
        digests, gathering = self._gather_digests(k)
        given = fetch(mesh, k, v, *reach.unasked(k.shape[0], mesh.device))
        moved = MovedQueries(mesh, self._layout, layer, q)
        local = attend(q, k, v, causal=True)  # own tokens rise in position, so index order is causal order
        regular = self._layout.regular(mesh.rank)
        early = min(regular, self._layout.early_tokens(mesh.rank))
        asking = q[:regular]
        held = join(Partial(local.out[:regular], local.lse[:regular]), asking, given.wait(), mesh.rank, early)
        gathering.wait()
        chosen = self._fetch_chosen(layer, asking, held, digests, k, v)
        moved.answer(k, v)
        for rows in chosen:
            held = join(held, asking, rows.wait(), mesh.rank, early)
        exact = moved.merge(local)
        self._count(given, chosen, k)
        self._coverage.audit(held.lse[moved.audited], exact.audited)
        return torch.cat([held.out, exact.tail])

    def _gather_digests(self, k: Tensor) -> tuple[Tensor, Pending]:
        mine = digest(k, self._settings.block_tokens)
        padded = mine.new_zeros(self._layout.longest_blocks, *mine.shape[1:])
        padded[: mine.shape[0]] = mine
        gathered = padded.new_empty(self._mesh.size, *padded.shape)
        return gathered, self._mesh.all_gather_into(gathered, padded)

    def _fetch_chosen(self, layer: int, q: Tensor, held: Partial, digests: Tensor, k: Tensor, v: Tensor) -> list[Rows]:
        mesh, reach, block = self._mesh, self._reach, self._settings.block_tokens
        wanted, cut = reach.choose(layer, self._votes(q, held.lse, digests))
        self._coverage.cut_blocks += cut
        asked = ask(mesh, wanted, self._layout.blocks(mesh.rank))
        rows = []
        for level in range(len(reach.levels)):
            give = [token_mask(mask, block, k.shape[1]) for mask in asked]
            take = [token_mask(mask, block, self._layout.tokens(s)) for s, mask in enumerate(wanted)]
            rows.append(fetch(mesh, k, v, *reach.at_level(layer, level, give, take)))
        return rows

    def _votes(self, q: Tensor, lse: Tensor, digests: Tensor) -> list[Tensor]:
        """Votes [K, visible blocks] by rank."""
        votes = []
        for source in range(self._mesh.size):
            begin = self._layout.early_tokens(self._mesh.rank) if source > self._mesh.rank else 0
            seen = self._layout.visible(self._mesh.rank, source)
            voters = slice(begin, None, self._settings.vote_every)
            votes.append(self._vote(q[voters], lse[voters], digests[source, :seen]))
        return votes

    def _count(self, given: Rows, chosen: list[Rows], k: Tensor) -> None:
        row = 2 * k.shape[2] * k.element_size()
        coverage = self._coverage
        coverage.layers += 1
        coverage.available_bytes += self._reach.visible_tokens * k.shape[0] * row
        coverage.fetched_bytes += given.tokens * row
        for level, rows in enumerate(chosen):
            coverage.level_bytes[level] += rows.tokens * row
            coverage.fetched_bytes += rows.tokens * row
