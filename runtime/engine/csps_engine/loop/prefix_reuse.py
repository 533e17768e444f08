"""Whether a prompt goes on from the beginning that its pool holds, and where that comes from."""

from __future__ import annotations

from csps_engine.core.kvshape import KvShape
from csps_engine.core.plan import PAGE_TOKENS, AttentionKind
from csps_engine.scheduler.ticks import PrefillOrder
from csps_engine.transfer.prefix_pull import PrefixPull
from csps_engine.transfer.transport import Access
from csps_engine.wire.generated import Reservation


def reused_tokens(reservation: Reservation, attention: AttentionKind, tokens: int) -> int:
    """How many tokens of a prompt are not computed; the same on every rank, and for whoever asks.

    What follows a known beginning attends to it exactly. So where sparse attention is wanted, a prompt that is
    mostly new is computed whole; its pages that the pool holds are not pushed again all the same.
    """
    shared = PAGE_TOKENS * (reservation.shared_pages or 0)
    return shared if attention == "dense" or 2 * shared >= tokens else 0


def beginning_of(
    order: PrefillOrder, reservation: Reservation, shape: KvShape, access: Access, deadline: float
) -> PrefixPull | None:
    """The KV that the prompt goes on from, on its way; None: it is computed from its first token."""
    if not reused_tokens(reservation, order.attention, len(order.token_ids)):
        return None
    return PrefixPull(reservation, shape, access.token, deadline)
