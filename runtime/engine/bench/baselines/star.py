"""Star Attention (Acharya et al., 2024), the idea that APB builds on: no exchange while the context is encoded.

Each rank computes its own run of tokens behind a copy of the prompt's first run, the anchor, which stands in for
all that lies between. Only the last `query_tokens` are exact: their queries visit all ranks and the partial results
merge. An approximation: its outputs differ from dense attention's, and half of each rank's work is the anchor's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from csps_engine.attention.attend import attend
from csps_engine.attention.partial import merge_many
from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import PAGE_TOKENS
from csps_engine.pipeline.partition import contiguous, owner


class StarAttention:
    """Attention of one prompt; `own` begins with the anchor on every rank but the first."""

    def __init__(self, mesh: Mesh, tokens: int, query_tokens: int = 2 * PAGE_TOKENS) -> None:
        self._mesh = mesh
        runs = contiguous(tokens, mesh.size)
        self._anchor = runs[0]
        self._run = runs[mesh.rank]
        self.own = (self._run,) if mesh.rank == 0 else (self._anchor, self._run)
        self.last_owner = owner([(run,) for run in runs], tokens - 1)
        self._query = min(query_tokens, runs[self.last_owner].tokens)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Output [n, H, D] of the queries q [n, H, D] of `own`, given their k, v [K, n, D]."""
        local = attend(q, k, v, causal=True).out
        tail = self._exact_tail(q, k, v)
        if self._mesh.rank == self.last_owner:
            local[-self._query :] = tail
        return local

    def _exact_tail(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Output [W, H, D] of the last queries over all tokens; of use on their owner. Collective."""
        mesh, owns = self._mesh, self._mesh.rank == self.last_owner
        tail = q[-self._query :].contiguous() if owns else q.new_empty(self._query, *q.shape[1:])
        self._move([tail] * mesh.size if owns else None, tail)
        run = self._run.tokens
        mine_k, mine_v = k[:, k.shape[1] - run :], v[:, v.shape[1] - run :]
        if owns:
            # Causal within the tail: every key before it, then the tail's own.
            before = attend(tail, mine_k[:, : -self._query], mine_v[:, : -self._query], causal=False)
            within = attend(tail, mine_k[:, -self._query :], mine_v[:, -self._query :], causal=True)
            both = (torch.stack([before.out, within.out]), torch.stack([before.lse, within.lse]))
            partial = merge_many(*both)
        else:
            partial = attend(tail, mine_k, mine_v, causal=False)
        packed = torch.cat([partial.out, partial.lse.unsqueeze(-1)], -1)
        rows = packed.shape[0]
        gathered = packed.new_empty(mesh.size if owns else 0, *packed.shape)
        received = [rows if owns else 0] * mesh.size
        sent = [rows if peer == self.last_owner else 0 for peer in range(mesh.size)]
        mesh.all_to_all_single(gathered.flatten(0, 1), packed, received, sent).wait()
        return merge_many(gathered[..., :-1], gathered[..., -1]).out.to(q.dtype) if owns else tail

    def _move(self, copies: list[Tensor] | None, arriving: Tensor) -> None:
        """Bring the tail's queries from their owner to all."""
        mesh, rows = self._mesh, arriving.shape[0]
        outgoing = torch.cat(copies) if copies is not None else arriving.new_empty(0, *arriving.shape[1:])
        received = [rows if peer == self.last_owner else 0 for peer in range(mesh.size)]
        sent = [rows if copies is not None else 0] * mesh.size
        mesh.all_to_all_single(arriving, outgoing, received, sent).wait()
