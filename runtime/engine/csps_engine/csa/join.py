"""Attention to keys that came from other ranks, merged with what a rank already has.

What a rank s < r sends is before both chunks of r and seen by all its queries; what a rank s > r sends is seen by
the late ones alone. So no key needs a mask, and keys may arrive in any order.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from csps_engine.attention.partial import Partial, merge
from csps_engine.attention.ragged import attend_each_head
from csps_engine.csa.fetch import Keys


def join(held: Partial, q: Tensor, arrived: Sequence[Sequence[Keys]], rank: int, early: int) -> Partial:
    """Add arrived[s][u], the keys of KV head u from rank s, to what queries q [T, H, D] hold.

    The first `early` queries are of the early chunk.
    """
    before = attend_ragged(q, [keys for keys in arrived[:rank] if keys])
    if before is not None:
        held = merge(held, before)
    between = attend_ragged(q[early:], [keys for keys in arrived[rank + 1 :] if keys])
    if between is None:
        return held
    late = merge(Partial(held.out[early:], held.lse[early:]), between)
    return Partial(torch.cat([held.out[:early], late.out]), torch.cat([held.lse[:early], late.lse]))


def attend_ragged(q: Tensor, senders: Sequence[Sequence[Keys]]) -> Partial | None:
    """Attention of q [T, H, D] when each KV head has its own number of keys; None without any sender or query."""
    if not senders or q.shape[0] == 0:
        return None
    return attend_each_head(q, list(zip(*senders, strict=True)))
