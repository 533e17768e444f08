"""Who proposes the next epoch, and with whom.

    living   = roster members that answered as the roster's incarnation, loaded, with equal KV format; of those
               that drain only who still holds pages
    proposer = the coordinator that serves now, if it lives and is on the roster
               else the coordinator of the newest epoch anyone saw, likewise: it knows the running requests
               else the first living member of the roster
    form     = only with more than half of the roster, and at least its minimum size

Every rank computes this from its own probes. Two may disagree for a moment; then one proposal is refused as
stale, and its proposer asks again later. The majority makes two serving epochs impossible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from csps_engine.wire.generated import RankRef, RankState, Roster

JOINABLE = frozenset({"awaitingRoster", "forming", "serving"})


@dataclass(frozen=True, slots=True)
class Propose:
    """This rank coordinates: members in mesh order, itself first."""

    epoch: int
    members: tuple[RankRef, ...]


@dataclass(frozen=True, slots=True)
class Follow:
    """Another rank should propose."""

    proposer: RankRef


@dataclass(frozen=True, slots=True)
class Wait:
    """No epoch can form now."""

    reason: str


Ballot = Propose | Follow | Wait


def can_join(state: RankState) -> bool:
    """A rank that drains takes part until its pages have moved."""
    return state.phase in JOINABLE or (state.phase == "draining" and (state.held_pages or 0) > 0)


def living_members(roster: Roster, states: Mapping[str, RankState], kv_format: str) -> tuple[RankRef, ...]:
    """Roster members that could join now; `states` holds every answer, one's own included, by rankId."""
    return tuple(
        member
        for member in roster.members
        if (state := states.get(member.rank_id)) is not None
        and state.rank.incarnation == member.incarnation
        and can_join(state)
        and state.kv_format == kv_format
    )


def needed_members(roster: Roster) -> int:
    """How many ranks an epoch of this roster needs at least."""
    return max(len(roster.members) // 2 + 1, roster.min_size)


def elect(me: RankRef, roster: Roster, states: Mapping[str, RankState], seen_epoch: int) -> Ballot:
    living = living_members(roster, states, states[me.rank_id].kv_format)
    if me.rank_id not in {member.rank_id for member in living}:
        return Wait(f"{me.rank_id} cannot join: {states[me.rank_id].phase}")
    needed = needed_members(roster)
    if len(living) < needed:
        absent = [m.rank_id for m in roster.members if m not in living]
        return Wait(
            f"{len(living)} of {len(roster.members)} roster members can join, {needed} are needed; "
            f"without: {', '.join(absent)}"
        )
    proposer = _incumbent(living, states) or living[0]
    if proposer.rank_id != me.rank_id:
        return Follow(proposer)
    epoch = 1 + max([seen_epoch, *(states[member.rank_id].epoch for member in living)])
    return Propose(epoch, (me, *(member for member in living if member.rank_id != me.rank_id)))


def _incumbent(living: tuple[RankRef, ...], states: Mapping[str, RankState]) -> RankRef | None:
    by_incarnation = {member.incarnation: member for member in living}
    serving = [
        (states[m.rank_id].epoch, m)
        for m in living
        if states[m.rank_id].phase == "serving" and _coordinator(states[m.rank_id]) == m.incarnation
    ]
    if serving:
        return max(serving, key=lambda pair: pair[0])[1]
    newest = sorted((states[m.rank_id] for m in living), key=lambda state: -state.epoch)
    for state in newest[:1]:
        return by_incarnation.get(_coordinator(state) or "")
    return None


def _coordinator(state: RankState) -> str | None:
    return state.coordinator.incarnation if state.coordinator else None
