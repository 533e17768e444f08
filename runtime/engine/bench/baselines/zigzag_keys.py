"""Which queries of a rank see another rank's chunks, when both own an early and a late one."""

from __future__ import annotations

import torch
from torch import Tensor

from csps_engine.attention.attend import attend
from csps_engine.attention.partial import Partial, merge
from csps_engine.pipeline.partition import Span

Chunks = tuple[Span, Span]


def attend_own(q: Tensor, k: Tensor, v: Tensor, cut: int) -> Partial:
    """Own queries [n, H, D] over own keys [K, n, D]; the early chunk has `cut` tokens."""
    early = attend(q[:cut], k[:, :cut], v[:, :cut], causal=True)
    late = attend(q[cut:], k[:, cut:], v[:, cut:], causal=True)
    late = merge(late, attend(q[cut:], k[:, :cut], v[:, :cut], causal=False))
    return Partial(*(torch.cat(column) for column in zip(early, late, strict=True)))


def attend_block(held: Partial, q: Tensor, kv: Tensor, own: Chunks, source: Chunks) -> Partial:
    """Add what a source's block kv [2, K, n, D] gives.

    An earlier source's early chunk precedes both own chunks; both chunks of a later source lie between them.
    """
    cut = own[0].tokens
    if source[0].start < own[0].start:
        seen = source[0].tokens
        return merge(held, attend(q, kv[0, :, :seen], kv[1, :, :seen], causal=False))
    late = merge(Partial(held.out[cut:], held.lse[cut:]), attend(q[cut:], kv[0], kv[1], causal=False))
    return Partial(torch.cat([held.out[:cut], late.out]), torch.cat([held.lse[:cut], late.lse]))
