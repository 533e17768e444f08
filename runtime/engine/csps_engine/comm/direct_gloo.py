"""Collectives of tensors over gloo as messages between pairs of ranks, every receive posted before any send.

gloo's own all-to-all posts a send before the receive from the same peer. The rank that comes later then has its
"ready to receive" queued behind its data on the one connection between the two, and the peer's data waits for it:
the two directions of the link take turns. Posted the other way round, both are in use at once. Messages between two
ranks go in order, so of several collectives under way the first arrives first. They are counted by pair and
direction: ranks that have nothing for each other need not take part in the same collectives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

TAGS = 1 << 30
"""Tags of messages to or from one rank before the first is used again."""


class Messages:
    """What one rank sends and receives in one collective."""

    def __init__(self, works: Sequence[Any]) -> None:
        self._works = works

    def wait(self) -> None:
        """Until all have come and gone. Raises RuntimeError when a peer is gone or silent."""
        for work in self._works:
            work.wait()


class DirectGloo:
    """The data collectives of a gloo process group."""

    def __init__(self, group: Any, rank: int, size: int) -> None:
        self._group = group
        self._rank = rank
        self._peers = [(rank + step) % size for step in range(1, size)]
        self._sent = [0] * size
        self._received = [0] * size

    def alltoall_base(self, out: Tensor, inp: Tensor, out_splits: list[int], in_splits: list[int]) -> Messages:
        """As the group's: rows (dim 0) of `inp` to each rank, rows of `out` from each."""
        arriving, leaving = out.split(out_splits), inp.contiguous().split(in_splits)
        works = self._exchange(arriving, leaving)
        arriving[self._rank].copy_(leaving[self._rank])
        return Messages(works)

    def _allgather_base(self, out: Tensor, inp: Tensor) -> Messages:
        """As the group's: flat `inp` of every rank into flat `out`."""
        arriving = out.chunk(len(self._peers) + 1)
        leaving = inp.contiguous()
        works = self._exchange(arriving, [leaving] * len(arriving))
        arriving[self._rank].copy_(leaving)
        return Messages(works)

    def _exchange(self, arriving: Sequence[Tensor], leaving: Sequence[Tensor]) -> list[Any]:
        receives = [
            self._group.recv([arriving[peer]], peer, _next(self._received, peer))
            for peer in reversed(self._peers)
            if arriving[peer].numel() > 0
        ]
        sends = [
            self._group.send([leaving[peer]], peer, _next(self._sent, peer))
            for peer in self._peers
            if leaving[peer].numel() > 0
        ]
        return receives + sends


def _next(counts: list[int], peer: int) -> int:
    counts[peer] = (counts[peer] + 1) % TAGS
    return counts[peer]
