"""Sequence-parallel prefill attention in which heads are exchanged for tokens.

Rank r owns one run of tokens. Per layer an all-to-all brings it q, k and v of all tokens for its share of the
heads; it computes plain causal attention; a second all-to-all returns the output to the tokens' owners. KV heads
that serve the query heads of several ranks travel to each of them. Every rank has the same causal work.
"""

from __future__ import annotations

from torch import Tensor

from csps_engine.attention.attend import attend
from csps_engine.comm.mesh import Mesh
from csps_engine.model.config import ModelConfig
from csps_engine.pipeline.mode import ModeError, split_heads
from csps_engine.pipeline.partition import contiguous, owner


class AllToAllAttention:
    """Attention of one prompt of `tokens` tokens over a mesh whose size divides the query heads."""

    def __init__(self, config: ModelConfig, mesh: Mesh, tokens: int) -> None:
        splits = split_heads(config, mesh.size)
        if splits is None:
            raise ModeError(f"{config.heads} heads do not split evenly over {mesh.size} ranks")
        self._splits = splits
        self._mesh = mesh
        spans = contiguous(tokens, mesh.size)
        self._counts = [span.tokens for span in spans]
        self.own = (spans[mesh.rank],)
        self.last_owner = owner([(span,) for span in spans], tokens - 1)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Output [n, H, D] of own queries q [n, H, D], given own k, v [K, n, D]."""
        share, kv_share = len(self._splits[0].heads), len(self._splits[0].kv_heads)
        heads = self._to_heads(q, k.transpose(0, 1), v.transpose(0, 1))  # [N, share + 2*kv_share, D]
        mine_q, mine_k, mine_v = heads.split([share, kv_share, kv_share], 1)
        keys, values = (part.transpose(0, 1).contiguous() for part in (mine_k, mine_v))
        return self._to_tokens(attend(mine_q, keys, values, causal=True).out)

    def _to_heads(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """From all heads of own tokens to own heads of all tokens; q, k, v are [n, heads, D]."""
        n, ranks, split = q.shape[0], self._mesh.size, self._splits[0]
        inp = q.new_empty(ranks, n, len(split.heads) + 2 * len(split.kv_heads), q.shape[2])
        for packed, to in zip(inp, self._splits, strict=True):
            parts = packed.split([len(to.heads), len(to.kv_heads), len(to.kv_heads)], 1)
            parts[0].copy_(q[:, to.heads.start : to.heads.stop])
            parts[1].copy_(k[:, to.kv_heads.start : to.kv_heads.stop])
            parts[2].copy_(v[:, to.kv_heads.start : to.kv_heads.stop])
        out = q.new_empty(sum(self._counts), *inp.shape[2:])
        self._mesh.all_to_all_single(out, inp.flatten(0, 1), self._counts, [n] * ranks).wait()
        return out

    def _to_tokens(self, out: Tensor) -> Tensor:
        """From own heads of all tokens [N, share, D] to all heads of own tokens [n, H, D]."""
        n, ranks = self._counts[self._mesh.rank], self._mesh.size
        back = out.new_empty(ranks, n, *out.shape[1:])
        self._mesh.all_to_all_single(back.flatten(0, 1), out.contiguous(), [n] * ranks, self._counts).wait()
        return back.transpose(0, 1).flatten(1, 2)
