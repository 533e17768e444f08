"""The authors' prototype of sparse attention, to compare with: remote keys are thinned by position alone.

Head u keeps, of every rank's contiguous tokens, those whose local index is u modulo the level's degree, so that
each token is seen by a share of the heads. Levels are groups of consecutive ranks, larger ones thinned more; their
results merge by softmax mass. The prototype also did what an option here can bring back:
    overlap          a level holds the members of the smaller ones again, and the rank's own keys: counted twice
    thin_queries     a query of head u takes part remotely only if its own index is u modulo the degree
    drop_remainder   tokens past the last whole multiple of the degree take part nowhere
It subtracted no maximum before exponentials; that overflows and has no option. Keys move to queries here, whereas
the prototype moved both to the owners of heads: the pairs evaluated are the same, the bytes are not. The phase is
that of the KV head (the prototype had one query head for each).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from csps_engine.attention.attend import attend
from csps_engine.attention.partial import Partial, merge, nothing
from csps_engine.comm.mesh import Mesh
from csps_engine.csa.fetch import Keys, fetch
from csps_engine.csa.packing import Plain
from csps_engine.csa.settings import CsaError


@dataclass(frozen=True, slots=True)
class StrideLevel:
    """Groups of `ranks` consecutive ranks that share one in `degree` tokens."""

    ranks: int
    degree: int

    def __post_init__(self) -> None:
        if self.ranks < 1 or self.degree < 1:
            raise CsaError(f"a level needs one rank and a degree of 1 at least, not {self.ranks} and {self.degree}")


@dataclass(frozen=True, slots=True)
class StrideSettings:
    """Levels above a rank's own exact attention, by rising size."""

    levels: tuple[StrideLevel, ...]
    overlap: bool = False
    thin_queries: bool = False
    drop_remainder: bool = False
    rescale: bool = False
    """Weigh a thinned level as if all its keys were there: unbiased, of more variance."""

    @classmethod
    def prototype(cls, *levels: StrideLevel) -> StrideSettings:
        return cls(levels, overlap=True, thin_queries=True, drop_remainder=True)


class StridedAttention:
    """Attention of one prompt whose rank r holds counts[r] tokens, in order."""

    def __init__(self, mesh: Mesh, counts: Sequence[int], settings: StrideSettings) -> None:
        self._mesh = mesh
        self._counts = counts
        self._settings = settings

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Output [n, H, D] of own queries q [n, H, D], given own k, v [K, n, D]. Collective."""
        held = attend(q, k, v, causal=True)
        inner = 1
        for level in self._settings.levels:
            held = merge(held, self._level(level, inner, q, k, v))
            inner = level.ranks
        return held.out

    def _level(self, level: StrideLevel, inner: int, q: Tensor, k: Tensor, v: Tensor) -> Partial:
        rank, kv_heads = self._mesh.rank, k.shape[0]
        own, none = self._kept(level, rank, kv_heads), torch.zeros(1, 0, dtype=torch.bool)
        ranks = range(self._mesh.size)
        give = [own if self._feeds(level, inner, rank, to) else none for to in ranks]
        take = [self._kept(level, s, kv_heads) if self._feeds(level, inner, s, rank) else none for s in ranks]
        arrived = [heads for heads in fetch(self._mesh, Plain(k, v), give, take).wait() if heads]
        parts = []
        group = q.shape[1] // kv_heads
        for head in range(kv_heads):
            before = [heads[head] for heads in arrived]
            mine = own[head].nonzero().flatten() if self._settings.overlap else torch.empty(0, dtype=torch.long)
            keys = Keys(
                *(torch.cat(column) for column in zip(*before, Keys(k[head, mine], v[head, mine]), strict=True))
            )
            asking = own[head].nonzero().flatten() if self._settings.thin_queries else torch.arange(q.shape[0])
            # Keys of earlier ranks precede every query; own ones by index.
            ahead = keys.k.shape[0] - len(mine)
            seen = torch.ones(len(asking), keys.k.shape[0], dtype=torch.bool)
            seen[:, ahead:] = mine[None, :] <= asking[:, None]
            queries = q[:, head * group : (head + 1) * group]
            part = nothing(queries)
            part.out[asking], part.lse[asking] = attend_seen(queries[asking], keys, seen)
            parts.append(part)
        out, lse = (torch.cat(column, 1) for column in zip(*parts, strict=True))
        return Partial(out, lse + math.log(level.degree) if self._settings.rescale else lse)

    def _feeds(self, level: StrideLevel, inner: int, source: int, to: int) -> bool:
        """Whether `source`, an earlier rank, gives its keys to `to` in this level."""
        near = source // inner == to // inner and not self._settings.overlap
        return source < to and source // level.ranks == to // level.ranks and not near

    def _kept(self, level: StrideLevel, rank: int, kv_heads: int) -> Tensor:
        """Tokens [K, n] of `rank` that take part in the level."""
        tokens = self._counts[rank]
        kept = torch.zeros(kv_heads, tokens, dtype=torch.bool)
        stop = tokens // level.degree * level.degree if self._settings.drop_remainder else tokens
        for head in range(kv_heads):
            kept[head, head % level.degree : stop : level.degree] = True
        return kept


def attend_seen(q: Tensor, keys: Keys, seen: Tensor) -> Partial:
    """Attention of q [T, G, D] over the keys that seen [T, S] allows, written out."""
    if keys.k.shape[0] == 0 or q.shape[0] == 0:
        return nothing(q)
    scores = torch.einsum("tgd,sd->tgs", q.float(), keys.k.float()) * q.shape[-1] ** -0.5
    scores = scores.masked_fill(~seen.unsqueeze(1), -math.inf)
    lse = scores.logsumexp(-1)
    safe = torch.where(torch.isneginf(lse), 0.0, lse)
    weights = torch.exp(scores - safe.unsqueeze(-1))
    return Partial(torch.einsum("tgs,sd->tgd", weights, keys.v.float()).to(q.dtype), lse)
