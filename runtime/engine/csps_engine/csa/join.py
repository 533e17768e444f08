"""Attention to keys that came from other ranks, added to what a rank already has.

What a rank s < r sends is before both chunks of r and seen by all its queries; what a rank s > r sends is seen by
the late ones alone. So no key needs a mask, and keys may arrive in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from csps_engine.attention.listed import attend_listed
from csps_engine.attention.partial import Partial
from csps_engine.csa.arrival import Arrival
from csps_engine.csa.worth import Tiles
from csps_engine.kernels.blocks import BlockLists

Shown = tuple[Tensor, Tensor]
"""Blocks [B] in an arrival that a head might read, and which of them each tile does [tiles, B]."""


class Reading(NamedTuple):
    """How a rank's queries read what comes."""

    rank: int
    kv_heads: int
    tiles: Tiles
    worth: Tensor | None
    """[H, tiles, ranks, blocks]: what each head and tile reads of each rank's blocks; None: all that it sees."""
    least: float
    """Of the blocks read, values may be left out whose weight is below e^least of what a query has."""


def join(held: Partial, q: Tensor, arrival: Arrival | None, reading: Reading) -> Partial:
    """Add what arrived to what queries q [T, H, D] hold."""
    if arrival is None:
        return held
    tiles = reading.tiles
    lists = reading.kv_heads if reading.worth is None else len(reading.worth)
    shown = [_shown(arrival, reading, number, lists) for number in range(lists)]
    early, late = slice(tiles.early), slice(tiles.early, None)
    if tiles.early % tiles.size == 0 or tiles.early == tiles.regular:
        return attend_listed(held, q, arrival.keys, arrival.blocks, _lists(shown), reading.least)
    parts = []
    for queries, own in ((early, slice(tiles.early_tiles)), (late, slice(tiles.early_tiles, None))):
        part = Partial(held.out[queries], held.lse[queries])
        mine = _lists([(blocks, read[own]) for blocks, read in shown])
        parts.append(attend_listed(part, q[queries], arrival.keys, arrival.blocks, mine, reading.least))
    return Partial(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _shown(arrival: Arrival, reading: Reading, number: int, lists: int) -> Shown:
    blocks = (arrival.head == number * reading.kv_heads // lists).nonzero().flatten()
    sender = arrival.sender[blocks]
    if reading.worth is None:
        read = torch.ones(reading.tiles.total, len(blocks), dtype=torch.bool, device=blocks.device)
    else:
        read = reading.worth[number][:, sender, arrival.number[blocks]]
    read[: reading.tiles.early_tiles] &= sender < reading.rank
    return blocks, read


def _lists(shown: Sequence[Shown]) -> BlockLists:
    counts = torch.stack([read.sum(1) for _, read in shown])
    end = counts.flatten().cumsum(0).view_as(counts)
    listed = torch.cat([blocks.expand_as(read)[read] for blocks, read in shown])
    return BlockLists((end - counts).int(), end.int(), listed.int())
