"""Who coordinates the group of a rank that does not, or does not any more: as the other ranks say."""

from __future__ import annotations

from collections.abc import Iterable

from csps_engine.loop.peers import Peers
from csps_engine.loop.standing import Standing
from csps_engine.membership.roster_book import RosterBook
from csps_engine.wire.generated import RankRef


class Coordinators:
    """Lives on the event loop."""

    def __init__(self, rank_id: str, standing: Standing, book: RosterBook, peers: Peers) -> None:
        self._rank_id = rank_id
        self._standing = standing
        self._book = book
        self._peers = peers

    async def successor(self) -> RankRef | None:
        """Of the epoch after the one that this rank left."""
        last = self._standing.last
        return None if last is None else await self._after(last.number, last.members)

    async def present(self) -> RankRef | None:
        """Of the epoch that serves now, whether or not this rank is in it."""
        serving, last, roster = self._standing.serving, self._standing.last, self._book.roster
        if serving is not None:
            return serving.proposal.coordinator
        known = [*(last.members if last else ()), *(roster.members if roster else ())]
        return await self._after(last.number if last else 0, {member.rank_id: member for member in known}.values())

    async def _after(self, epoch: int, members: Iterable[RankRef]) -> RankRef | None:
        """By what one of the members says."""
        states = await self._peers.states(member for member in members if member.rank_id != self._rank_id)
        for state in states.values():
            if state.phase in ("serving", "draining") and state.epoch > epoch and state.epoch_members:
                return state.coordinator
        return None
