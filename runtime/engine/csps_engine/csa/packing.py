"""How keys and values are written for the link: as they are, or in 8 bits an element.

In 8 bits a value is a step of its token's largest element, and a key a step of its block's range, channel by
channel. The digest that every rank has of every block holds those ranges, so keys bring no scales of their own, and
a channel in which all keys of a block are alike loses nothing.
    bytes of a token and KV head      as they are  2 D b        in 8 bits  2 D + 2
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from csps_engine.csa.digest import limits

_KEY_STEPS = 255
_VALUE_STEPS = 127


class Packing(Protocol):
    """The rows of one rank's keys and values, and how to read another rank's."""

    @property
    def rows(self) -> Sequence[Tensor]:
        """Tensors [K, n, *] of which the chosen rows travel; alike in form on every rank."""
        ...

    def unpack(self, source: int, taken: Tensor, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Keys and values [rows, D] of the tokens taken [K, tokens] of `source`, by KV head and then position."""
        ...


class Plain:
    """Keys and values k, v [K, n, D] as they are."""

    def __init__(self, k: Tensor, v: Tensor) -> None:
        self.rows = (k, v)

    def unpack(self, source: int, taken: Tensor, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        k, v = parts
        return k, v


class EightBit:
    """Keys and values k, v [K, n, D] in 8 bits, given `own` digests [blocks, K, 2D+4].

    `digests` [P, blocks, K, 2D+4] are those of all ranks; they need not have come before something is unpacked.
    """

    def __init__(self, k: Tensor, v: Tensor, own: Tensor, digests: Tensor, block_tokens: int) -> None:
        self._digests = digests
        self._block_tokens = block_tokens
        self._dtype = k.dtype
        tokens = k.shape[1]
        at = torch.arange(tokens, device=k.device) // block_tokens
        low, step = (part[at].transpose(0, 1) for part in _grid(own))
        steps = ((k.float() - low) / step).round().clamp_(0, _KEY_STEPS).to(torch.uint8)
        largest = v.float().abs().amax(-1, keepdim=True)
        # The scale is rounded before it divides: both sides then multiply by the same number.
        scale = (largest / _VALUE_STEPS).clamp_min(torch.finfo(torch.bfloat16).tiny).to(torch.bfloat16)
        levels = (v.float() / scale.float()).round().clamp_(-_VALUE_STEPS, _VALUE_STEPS).to(torch.int8)
        self.rows = (scale, steps, levels)

    def unpack(self, source: int, taken: Tensor, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        scale, steps, levels = parts
        head, token = taken.nonzero(as_tuple=True)
        block = token // self._block_tokens
        low, step = (part[block, head] for part in _grid(self._digests[source]))
        return (low + steps.float() * step).to(self._dtype), (levels.float() * scale.float()).to(self._dtype)


def _grid(digests: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest key and size of a step, [blocks, K, D] each."""
    low, high = limits(digests)
    return low, ((high - low) / _KEY_STEPS).clamp_min(1e-30)


def row_bytes(packing: Packing) -> int:
    """Bytes of one token's row of one KV head."""
    return sum(part.shape[2] * part.element_size() for part in packing.rows)
