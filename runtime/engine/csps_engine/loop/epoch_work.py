"""What a group does in an epoch: a decode pool and a prefill group fulfil the same protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from csps_engine.comm.mesh import Mesh
from csps_engine.loop.load_meter import LoadMeter
from csps_engine.scheduler.ticks import Tick
from csps_engine.wire.generated import EpochProposal, RankRef


@dataclass(frozen=True, slots=True)
class Load:
    """Counters for /v1/state; replaced as a whole, so that readers see one moment."""

    pages_total: int = 0
    pages_free: int = 0
    pool_pages_total: int = 0
    pool_pages_free: int = 0
    running: int = 0
    waiting: int = 0
    held_pages: int = 0
    """Of this rank, by requests."""
    homes: int = 0
    """Requests whose dense layers this rank runs."""
    emptied: frozenset[str] = frozenset()
    """On a coordinator: ranks that leave and hold nothing any more."""
    closed: bool = False
    """This rank gets nothing new."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch as this rank takes part in it."""

    proposal: EpochProposal
    rank: int
    """Number in the mesh."""
    tensor_rank: int = 0
    """Which process of its rank takes part; see seat.py."""

    @property
    def number(self) -> int:
        return self.proposal.epoch

    @property
    def coordinates(self) -> bool:
        return self.rank == 0 and self.tensor_rank == 0

    @property
    def members(self) -> list[RankRef]:
        return self.proposal.members


class EpochWork(Protocol):
    """All methods run on the engine thread, except `load` and `meter`."""

    @property
    def load(self) -> Load: ...

    @property
    def meter(self) -> LoadMeter: ...

    def close_ranks(self, rank_ids: frozenset[str]) -> None:
        """Coordinator only: these ranks will leave; give them nothing new and empty them."""
        ...

    def start_epoch(self, epoch: Epoch, mesh: Mesh) -> None:
        """Collective: prepare for ticks."""
        ...

    def next_tick(self) -> Tick | None:
        """Coordinator only: what to do now, or None when there is nothing."""
        ...

    def next_due(self) -> float | None:
        """Coordinator only: when (time.monotonic()) there will be something without a command."""
        ...

    def execute(self, tick: Tick) -> None:
        """Collective: do what the tick says; every member is done when it returns on the coordinator."""
        ...

    def farewell(self) -> dict[str, Any] | None:
        """Coordinator only, before it leaves: its book, when it will not coordinate the next epoch."""
        ...

    def end_epoch(self, reason: str) -> None:
        """Settle what was under way."""
        ...

    def give_up(self, reason: str) -> None:
        """No epoch formed for long, or this rank stops: end what still waits."""
        ...
