"""Lists of key blocks, as the block-sparse kernel reads them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

BEFORE_ALL = -1
"""Position of keys that every query sees."""


class KeyBlocks(NamedTuple):
    """Where C blocks of keys lie in the key matrix, int32 each."""

    row: Tensor  # [C] first row
    tokens: Tensor  # [C] rows, from 0 to the kernel's block_tokens
    position: Tensor  # [C] absolute position of the first key; the others follow. BEFORE_ALL: seen by every query


class BlockLists(NamedTuple):
    """Which blocks each tile of queries reads, by head or for all heads of a KV head. One serves all when L is 1."""

    begin: Tensor  # [H or K, L] int32 into `block`
    end: Tensor  # [H or K, L] int32
    block: Tensor  # [listed] int32
