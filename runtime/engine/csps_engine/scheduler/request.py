"""One request in a pool: its pages, and how far its answer is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from csps_engine.core.plan import PAGE_TOKENS, Sampling
from csps_engine.scheduler.page_ledger import Page

Phase = Literal["reserved", "decoding"]
EndReason = Literal["stop", "length"]


def pages_for(tokens: int) -> int:
    return -(-tokens // PAGE_TOKENS)


@dataclass(frozen=True, slots=True)
class DecodeOrder:
    """What a decode is asked to do."""

    first_token: int
    max_new_tokens: int
    stop_token_ids: frozenset[int] = frozenset()
    sampling: Sampling = Sampling()
    shareable: bool = False
    """The prompt's KV is exact, so that its full pages may serve other prompts that begin alike."""


@dataclass(slots=True)
class PoolRequest:
    """Pages are named by (rankId, slot), which outlive an epoch's rank numbers."""

    request_id: str
    version: int
    prompt_tokens: int
    max_new_tokens: int
    pages: list[Page]
    home: str
    lease_until: float
    """Seconds of the caller's clock; matters while reserved."""
    phase: Phase = "reserved"
    checked: bool = False
    """Every holder said that the prompt's KV is complete."""
    order: DecodeOrder | None = None
    next_token: int = 0
    """Input of the next step."""
    position: int = 0
    """Where the next step writes; equal to the tokens with KV."""
    produced: int = field(default=0)
    map_version: int = 1
    """Grows with every change of `pages` or `home`: what a move's commit compares."""
    keys: tuple[str, ...] = ()
    """Of the prompt's full pages, in order; empty when its pages are not to be shared."""
    shared_pages: int = 0
    """Leading pages whose KV was here when they were reserved."""

    @property
    def settled(self) -> bool:
        """All KV of the prompt is here, so that pages may move."""
        return self.phase == "decoding" and self.checked

    @property
    def written_tokens(self) -> int:
        """Tokens that have KV, or will have it when their prefill ends."""
        return max(self.position, self.prompt_tokens)

    @property
    def holders(self) -> set[str]:
        return {rank for rank, _ in self.pages}

    @property
    def prompt_pages(self) -> int:
        return pages_for(self.prompt_tokens)

    def begin(self, order: DecodeOrder) -> EndReason | None:
        """Start decoding; returns why nothing is left to do, if so."""
        self.phase = "decoding"
        self.order = order
        self.next_token = order.first_token
        self.position = self.prompt_tokens
        if order.first_token in order.stop_token_ids:
            return "stop"
        return "length" if order.max_new_tokens == 0 else None

    def advance(self, token: int) -> EndReason | None:
        """Take the step's token; returns why the answer is finished, if so."""
        order = self.order
        if order is None:
            raise ValueError(f"{self.request_id} is not decoding")
        self.next_token = token
        self.position += 1
        self.produced += 1
        if token in order.stop_token_ids:
            return "stop"
        return "length" if self.produced >= order.max_new_tokens else None
