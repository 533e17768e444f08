"""The membership agent: forms epochs, watches the serving one, and takes the operator's roster.

without a roster   wait for one
without an epoch   ask the others how they are, elect, and propose or wait for a proposal
in an epoch        take in who came back, leave out who was removed or has drained, once it holds nothing
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

from csps_engine.loop.engine import EngineThread
from csps_engine.loop.epoch_work import Epoch
from csps_engine.loop.peers import Peers
from csps_engine.loop.rendezvous import host_store
from csps_engine.loop.standing import Standing
from csps_engine.membership.change import Watch, reason_to_leave, removed_members
from csps_engine.membership.departure import Departures
from csps_engine.membership.election import Follow, Propose, Wait, can_join, elect, living_members
from csps_engine.membership.roster_book import RosterBook
from csps_engine.refusal import Refused
from csps_engine.wire.generated import EpochProposal, RankRef, RankState, Roster

log = logging.getLogger(__name__)

WATCH_SECONDS = 1.0
DEPARTURE_SECONDS = 0.2
"""While some member leaves."""
FOLLOW_SECONDS = 1.0
SETTLE_SECONDS = 15.0
"""Without an epoch for so long, waiting and running requests are given up, so that the gateway goes elsewhere."""


@dataclass(frozen=True, slots=True)
class AgentHooks:
    """What the agent asks of the rank it belongs to. Called on the event loop; must not block."""

    describe: Callable[[], RankState]
    give_up: Callable[[str], None]
    close_ranks: Callable[[frozenset[str]], None]
    """On a coordinator: these ranks will leave."""
    emptied: Callable[[], frozenset[str]]
    """On a coordinator: of those, who holds nothing any more."""


class MembershipAgent:
    def __init__(
        self,
        me: RankRef,
        book: RosterBook,
        standing: Standing,
        engine: EngineThread,
        peers: Peers,
        hooks: AgentHooks,
        departures: Departures,
    ) -> None:
        self._me = me
        self._book = book
        self._standing = standing
        self._engine = engine
        self._peers = peers
        self._hooks = hooks
        self._departures = departures
        self._closed: frozenset[str] = frozenset()
        self._gave_up = False

    def take_roster(self, roster: Roster) -> None:
        """Raises Refused."""
        if self._book.take_roster(roster):
            log.info("roster of %d members", len(roster.members), extra={"fields": {"generation": roster.generation}})
            self._standing.has_roster = True
            self._standing.changed.set()

    def take_proposal(self, proposal: EpochProposal) -> None:
        """Join a proposed epoch as soon as the present one is left; raises Refused."""
        self._book.take_proposal(proposal)
        number = [member.rank_id for member in proposal.members].index(self._me.rank_id)
        epoch = Epoch(proposal, number)
        self._standing.join(epoch)
        self._engine.assign(epoch)

    async def run(self) -> None:
        """Until cancelled."""
        standing = self._standing
        while True:
            roster = self._book.roster
            if roster is None:
                standing.waiting_for = "no roster was received yet"
                await standing.wait(5.0)
            elif standing.serving is not None:
                self._gave_up = False
                await self._watch(standing.serving, roster)
            elif standing.joining is not None:
                standing.waiting_for = f"epoch {standing.joining.number} is forming"
                await standing.wait(1.0)
            elif not can_join(self._hooks.describe()):
                await standing.wait(1.0)
            else:
                await self._try_to_form(roster)
            self._settle()

    def _settle(self) -> None:
        if self._engine.stalled and not self._standing.failed:
            # A hung device or driver, or a fault: this rank would accept proposals and never come. A restart may help.
            self._standing.failed = "the engine thread hangs in an epoch that is over, or has ended"
            log.error(self._standing.failed)
        without = time.monotonic() - self._standing.without_since
        if self._standing.serving is None and without > SETTLE_SECONDS and not self._gave_up:
            self._gave_up = True
            self._hooks.give_up("no epoch formed in time")

    async def _try_to_form(self, roster: Roster) -> None:
        states = await self._states(roster.members)
        if self._standing.joining is not None or self._book.roster is not roster:
            return
        ballot = elect(self._me, roster, states, self._book.seen_epoch)
        match ballot:
            case Wait(reason):
                self._standing.waiting_for = reason
                await self._standing.wait(random.uniform(0.4, 0.8))
            case Follow(proposer):
                self._standing.waiting_for = f"{proposer.rank_id} should propose the next epoch"
                await self._standing.wait(FOLLOW_SECONDS)
            case Propose():
                await self._propose(ballot, roster)

    async def _propose(self, ballot: Propose, roster: Roster) -> None:
        timeout = timedelta(seconds=15)
        store = await asyncio.to_thread(host_store, self._me.address, timeout)
        proposal = EpochProposal(
            group=roster.group,
            epoch=ballot.epoch,
            fence=roster.fence,
            generation=roster.generation,
            coordinator=self._me,
            members=list(ballot.members),
            store_host=self._me.address,
            store_port=store.port,
        )
        try:
            self._book.take_proposal(proposal)
        except Refused:
            return  # another proposal or a newer roster came meanwhile
        self._standing.waiting_for = f"epoch {ballot.epoch} is proposed to {len(ballot.members) - 1} others"
        answers = await asyncio.gather(
            *(self._peers.propose(member, proposal) for member in ballot.members[1:]), return_exceptions=True
        )
        refusals = [str(answer) for answer in answers if isinstance(answer, BaseException)]
        if refusals or self._standing.joining is not None:
            log.info("epoch %d was not agreed: %s", ballot.epoch, refusals)
            self._standing.waiting_for = f"epoch {ballot.epoch} was not agreed: {'; '.join(refusals)}"
            await self._standing.wait(random.uniform(0.2, 0.8))
            return
        epoch = Epoch(proposal, 0)
        self._standing.join(epoch)
        self._engine.assign(epoch, store)

    async def _watch(self, epoch: Epoch, roster: Roster) -> None:
        removed = removed_members(epoch.members, roster)
        asked = [m for m in epoch.members if m.rank_id in removed and (epoch.coordinates or m is epoch.members[0])]
        states = await self._states([*(roster.members if epoch.coordinates else ()), *asked])
        if self._standing.serving is not epoch:
            return
        now = time.monotonic()
        # A coordinator hands its pool over only if it knows that it leaves: then it says so.
        leaving = self._departures.note(epoch.members, removed if epoch.coordinates else (), states, now)
        if epoch.coordinates:
            self._close(leaving)
        emptied = self._hooks.emptied() & leaving if epoch.coordinates else frozenset()
        watch = Watch(
            me=self._me,
            members=epoch.members,
            roster=roster,
            living=living_members(roster, states, states[self._me.rank_id].kv_format) if epoch.coordinates else [],
            leaving=self._departures.awaited(emptied, states, now),
            emptied=emptied,
        )
        reason = reason_to_leave(watch)
        if reason is None:
            await self._standing.wait(DEPARTURE_SECONDS if leaving else WATCH_SECONDS)
            return
        log.info("leaving epoch %d: %s", epoch.number, reason)
        if epoch.coordinates:
            self._engine.leave(reason)
        else:
            self._engine.break_off()
        while self._standing.serving is epoch:
            await self._standing.wait(1.0)

    def _close(self, rank_ids: frozenset[str]) -> None:
        if rank_ids != self._closed:
            self._closed = rank_ids
            self._hooks.close_ranks(rank_ids)

    async def _states(self, members: Iterable[RankRef]) -> dict[str, RankState]:
        """Of everyone who answers, this rank included."""
        others = {member.rank_id: member for member in members if member.rank_id != self._me.rank_id}
        return {**await self._peers.states(others.values()), self._me.rank_id: self._hooks.describe()}
