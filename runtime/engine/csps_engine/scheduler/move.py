"""A move of some pages of one request from one rank of a pool to another, and what members are told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from csps_engine.core.plan import PAGE_TOKENS

MovePhase = Literal["copying", "committed", "refused", "cancelled", "failed"]


@dataclass(frozen=True, slots=True)
class MoveAsk:
    """What is asked. Ranks by name, for an order may be older than the epoch."""

    move_id: str
    fence: int
    request_id: str
    map_version: int
    source: str
    source_incarnation: str
    target: str
    target_incarnation: str
    first_page: int
    pages: int
    """0 when only the home moves."""
    bytes_per_second: int
    """0: no limit."""
    takes_home: bool
    deadline_ms: int


@dataclass(slots=True)
class Move:
    """One move in the coordinator's book."""

    ask: MoveAsk
    began_at: float
    total_bytes: int = 0
    phase: MovePhase = "copying"
    reason: str = ""
    map_version: int = 0
    slots: tuple[int, ...] = ()
    """Leased on the target while it copies."""
    copied_pages: int = 0
    """Full pages that the target acknowledged, from the first on."""
    copied_bytes: int = 0
    stall_seconds: float = 0.0
    ended_at: float = 0.0

    @property
    def deadline(self) -> float:
        return self.began_at + self.ask.deadline_ms / 1000


@dataclass(frozen=True, slots=True)
class MoveTicket:
    """Tells every member that a move begins: the source copies, the target lets the pages in. Mesh ranks."""

    move_id: str
    request_id: str
    source: int
    target: int
    first_page: int
    slots: tuple[int, ...]
    """On the target, one a page."""
    tokens: int
    """Of the request that have KV: the full pages among them can be copied."""
    bytes_per_second: int
    budget_ms: int
    takes_home: bool


@dataclass(frozen=True, slots=True)
class MoveCommit:
    """Tells every member to switch to the new places in this tick, once what is not yet copied was exchanged."""

    move_id: str
    copied_pages: int
    tokens: int
    """Of the request that have KV before this tick's step."""


@dataclass(frozen=True, slots=True)
class MoveProgress:
    """What a move's source knows."""

    copied_pages: int
    copied_bytes: int
    failed: bool


@dataclass(frozen=True, slots=True)
class TailPage:
    """A page that was not full when the copy ended, or became full just now: it travels in the commit's tick."""

    ticket: MoveTicket
    offset: int
    """From the move's first page on."""
    tokens: int

    @property
    def page(self) -> int:
        return self.ticket.first_page + self.offset


def tail_pages(ticket: MoveTicket, commit: MoveCommit) -> list[TailPage]:
    """What is left to be exchanged; pages that hold nothing are not."""
    tails: list[TailPage] = []
    for offset in range(commit.copied_pages, len(ticket.slots)):
        start = (ticket.first_page + offset) * PAGE_TOKENS
        if commit.tokens > start:
            tails.append(TailPage(ticket, offset, min(PAGE_TOKENS, commit.tokens - start)))
    return tails
