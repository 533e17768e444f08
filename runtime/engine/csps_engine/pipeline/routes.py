"""Who sends what to whom in a decode step: the same plan read by every rank, each from its own side.

A row's home computes q, k and v. Every rank that holds pages of the request needs q; the owner of the page that
the new token falls into (the tail) needs k and v too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from csps_engine.core.plan import DecodeRow, PageTable, StepPlan


@dataclass(frozen=True, slots=True)
class Routes:
    """One rank's view of a step. Row numbers count within the plan; `mine` numbers count within `mine`."""

    mine: tuple[int, ...]
    """Rows whose home is this rank."""
    homes: tuple[int, ...]
    """How many rows each rank is home of."""
    send_q: tuple[tuple[int, ...], ...]
    """By holder: numbers in `mine`. Empty for this rank itself: what stays is not sent."""
    send_kv: tuple[tuple[int, ...], ...]
    """By tail owner: numbers in `mine`."""
    receive_q: tuple[tuple[int, ...], ...]
    """By home: rows."""
    receive_kv: tuple[tuple[int, ...], ...]
    """By home: rows."""
    local_q: tuple[int, ...]
    """Numbers in `mine` of rows that this rank holds pages of."""
    local_kv: tuple[int, ...]
    """Numbers in `mine` of rows whose tail is here."""
    communicates: bool
    """Whether any rank sends anything; the same on every rank."""


def plan_routes(plan: StepPlan, tables: Mapping[str, PageTable], rank: int, ranks: int) -> Routes:
    """Routes of `rank`. Raises ValueError when a row has no page for its new token."""
    holders = holders_of(plan, tables)
    tails = [_tail(row, tables[row.request_id]) for row in plan.rows]
    mine = tuple(i for i, row in enumerate(plan.rows) if row.home == rank)
    peers = range(ranks)

    def mine_where(peer: int, wanted: Sequence[frozenset[int]]) -> tuple[int, ...]:
        return tuple(n for n, i in enumerate(mine) if peer in wanted[i])

    def received(home: int, wanted: Sequence[frozenset[int]]) -> tuple[int, ...]:
        if home == rank:
            return ()
        return tuple(i for i, row in enumerate(plan.rows) if row.home == home and rank in wanted[i])

    tail_sets = [frozenset((tail,)) for tail in tails]
    return Routes(
        mine=mine,
        homes=tuple(sum(row.home == peer for row in plan.rows) for peer in peers),
        send_q=tuple(() if peer == rank else mine_where(peer, holders) for peer in peers),
        send_kv=tuple(() if peer == rank else mine_where(peer, tail_sets) for peer in peers),
        receive_q=tuple(received(peer, holders) for peer in peers),
        receive_kv=tuple(received(peer, tail_sets) for peer in peers),
        local_q=mine_where(rank, holders),
        local_kv=mine_where(rank, tail_sets),
        communicates=any(held != {row.home} for held, row in zip(holders, plan.rows, strict=True)),
    )


def holders_of(plan: StepPlan, tables: Mapping[str, PageTable]) -> list[frozenset[int]]:
    """By row: the ranks that hold pages of what it attends to, the new token's included."""
    return [_holders(row, tables[row.request_id]) for row in plan.rows]


def _holders(row: DecodeRow, table: PageTable) -> frozenset[int]:
    return frozenset(place.rank for place in table.places[: row.position // table.page_tokens + 1])


def _tail(row: DecodeRow, table: PageTable) -> int:
    if row.position // table.page_tokens >= len(table.places):
        raise ValueError(f"request {row.request_id} has no page for position {row.position}")
    return table.tail(row.position).rank
