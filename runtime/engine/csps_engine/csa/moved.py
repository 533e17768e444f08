"""Queries that travel to the keys, for an exact answer: the prompt's tail, and a few audited ones.

Their owner sends them to every rank; each answers with attention over its own keys that they may see. The tail's
answers merge to its exact output. Of audited queries the log-sum-exp alone comes back: set against what the sparse
path held, it shows the share of attention mass that was covered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from csps_engine.attention.attend import attend
from csps_engine.attention.partial import Partial, merge_many, nothing
from csps_engine.comm.mesh import Mesh
from csps_engine.csa.layout import Layout
from csps_engine.csa.parcel import Arriving, Form, exchange


class Exact(NamedTuple):
    """Answers over all keys."""

    tail: Tensor  # [tail, H, D]
    audited: Tensor  # log-sum-exp [audits, H]


class MovedQueries:
    """The travelling queries of one layer. `answer` and `merge` follow once each, in this order. Collective."""

    def __init__(self, mesh: Mesh, layout: Layout, layer: int, q: Tensor) -> None:
        self._mesh = mesh
        self._layout = layout
        self._shape = q.shape[1:]
        self._dtype = q.dtype
        self._audits = [layout.audited(rank, layer) for rank in range(mesh.size)]
        self.own = torch.tensor(self._indices(mesh.rank), dtype=torch.long)
        """Local indices of this rank's queries that travel."""
        self.audited = self.own[: len(self._audits[mesh.rank])].to(q.device)
        moved = q[self.own.to(q.device)]
        self._queries = exchange(mesh, self._to_others([moved]), self._from_others(self._query_forms))
        self._answers: Arriving | None = None

    def answer(self, k: Tensor, v: Tensor) -> None:
        """Answer the others' queries over own k, v [K, n, D]."""
        outgoing: list[list[Tensor]] = []
        for asker, parts in enumerate(self._queries.wait()):
            if asker == self._mesh.rank:
                outgoing.append([])
                continue
            partial = self._attend(asker, parts[0], k, v)
            outgoing.append([partial.lse, partial.out[len(self._audits[asker]) :]])
        self._answers = exchange(self._mesh, outgoing, self._from_others(self._answer_forms))

    def merge(self, audited: Tensor, tail: Partial) -> Exact:
        """Exact answers to own travelling queries, given what they have of own keys: of audited ones the log-sum-exp
        [audits, H], of the tail both."""
        assert self._answers is not None
        answers = [parts for parts in self._answers.wait() if parts]
        audits = len(audited)
        lse = torch.stack([tail.lse, *(parts[0][audits:] for parts in answers)])
        out = torch.stack([tail.out.float(), *(parts[1].float() for parts in answers)])
        total = torch.stack([audited, *(parts[0][:audits] for parts in answers)])
        return Exact(merge_many(out, lse).out.to(self._dtype), torch.logsumexp(total, 0))

    def _attend(self, asker: int, q: Tensor, k: Tensor, v: Tensor) -> Partial:
        rank, layout = self._mesh.rank, self._layout
        cut = layout.early_tokens(rank)
        early = sum(index < layout.early_tokens(asker) for index in self._indices(asker))
        # Own chunks by position: the early one precedes the asker's early chunk if own rank is lower, and its late
        # chunk always; the late one precedes the asker's late chunk if own rank is higher.
        seen_early = cut if rank < asker else 0
        seen_late = k.shape[1] if rank > asker else cut
        parts = [
            attend(part, k[:, :seen], v[:, :seen], causal=False) if part.shape[0] else nothing(part)
            for part, seen in ((q[:early], seen_early), (q[early:], seen_late))
        ]
        return Partial(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def _indices(self, rank: int) -> list[int]:
        layout = self._layout
        return [*self._audits[rank], *range(layout.regular(rank), layout.tokens(rank))]

    def _query_forms(self, rank: int) -> list[Form]:
        return [Form((len(self._indices(rank)), *self._shape), self._dtype)]

    def _answer_forms(self, _: int) -> list[Form]:
        heads = self._shape[0]
        audits = len(self._audits[self._mesh.rank])
        count = len(self.own)
        return [Form((count, heads), torch.float32), Form((count - audits, *self._shape), self._dtype)]

    def _to_others(self, parts: list[Tensor]) -> list[list[Tensor]]:
        return [parts if rank != self._mesh.rank else [] for rank in range(self._mesh.size)]

    def _from_others(self, forms: Callable[[int], list[Form]]) -> list[list[Form]]:
        return [forms(rank) if rank != self._mesh.rank else [] for rank in range(self._mesh.size)]
