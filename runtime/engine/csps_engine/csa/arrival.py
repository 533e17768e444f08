"""Fetched keys as blocks in one matrix, each known by its KV head and by the block of its sender that it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from csps_engine.attention.listed import BLOCK_TOKENS
from csps_engine.csa.fetch import Keys
from csps_engine.csa.layout import Layout
from csps_engine.kernels.blocks import BEFORE_ALL, KeyBlocks


class Arrival(NamedTuple):
    """Blocks that came, by KV head of each sender. One of more than BLOCK_TOKENS keys counts as several."""

    keys: Keys  # [R, D]
    blocks: KeyBlocks
    head: Tensor  # [B]
    sender: Tensor  # [B]
    number: Tensor  # [B] among the sender's


def arrange(whole: Sequence[Keys | None], taken: Sequence[Tensor], layout: Layout) -> Arrival | None:
    """From what each sender sent, and which of its blocks that was [K, its blocks]; None when nothing came."""
    senders = [sender for sender, keys in enumerate(whole) if keys is not None]
    if not senders:
        return None
    names = []
    for sender in senders:
        head, number = taken[sender].nonzero(as_tuple=True)
        names.append(torch.stack([head, torch.full_like(head, sender), number, _tokens(layout, sender, number)]))
    head, sender, number, tokens = torch.cat(names, 1)
    row = tokens.cumsum(0) - tokens
    pieces = -(-layout.block_tokens // BLOCK_TOKENS)
    if pieces > 1:
        offset = torch.arange(0, layout.block_tokens, BLOCK_TOKENS, device=row.device).repeat(len(row))
        head, sender, number, tokens, row = (c.repeat_interleave(pieces) for c in (head, sender, number, tokens, row))
        held = tokens > offset
        row, tokens = (row + offset)[held], (tokens - offset).clamp_max(BLOCK_TOKENS)[held]
        head, sender, number = head[held], sender[held], number[held]
    keys = Keys(*(torch.cat(column) for column in zip(*(whole[sender] or () for sender in senders), strict=True)))
    blocks = KeyBlocks(row.int(), tokens.int(), torch.full_like(row, BEFORE_ALL).int())
    return Arrival(keys, blocks, head, sender, number)


def _tokens(layout: Layout, sender: int, number: Tensor) -> Tensor:
    return (layout.tokens(sender) - number * layout.block_tokens).clamp_max(layout.block_tokens)
