"""The roster that a rank holds, and which offers it takes.

Rosters are ordered by (fence, generation): the fence is the operator's leadership, so an old leader's late
word is refused, and the generation counts the changes of one leadership.
"""

from __future__ import annotations

from csps_engine.refusal import refuse
from csps_engine.wire.generated import EpochProposal, RankRef, Role, Roster


class RosterBook:
    """Holds the newest roster of one group for one rank, and the highest epoch seen."""

    def __init__(self, group: str, role: Role, me: RankRef) -> None:
        self._group = group
        self._role = role
        self._me = me
        self._roster: Roster | None = None
        self._seen_epoch = 0

    @property
    def roster(self) -> Roster | None:
        return self._roster

    @property
    def seen_epoch(self) -> int:
        """No epoch up to this one may form again."""
        return self._seen_epoch

    @property
    def order(self) -> tuple[int, int]:
        """(fence, generation) of the roster; (0, 0) before the first."""
        return (self._roster.fence, self._roster.generation) if self._roster else (0, 0)

    def see_epoch(self, epoch: int) -> None:
        self._seen_epoch = max(self._seen_epoch, epoch)

    def take_roster(self, offered: Roster) -> bool:
        """Take a roster; True when it is a newer one. Raises Refused when it is stale or not for this rank."""
        self._check_group(offered.group)
        if offered.role != self._role:
            raise refuse("bad_request", f"role: {self._me.rank_id} has role {self._role}, not {offered.role}")
        self._check_order(offered.fence, offered.generation, "roster")
        self._check_member(offered.members)
        if len({member.rank_id for member in offered.members}) != len(offered.members):
            raise refuse("bad_request", "members: a rankId appears twice")
        newer = (offered.fence, offered.generation) > self.order
        self._roster = offered
        return newer

    def take_proposal(self, proposal: EpochProposal) -> None:
        """Agree to an epoch; raises Refused when it is stale or without this incarnation."""
        self._check_group(proposal.group)
        self._check_order(proposal.fence, proposal.generation, "proposal")
        self._check_member(proposal.members)
        if proposal.members[0] != proposal.coordinator:
            raise refuse("bad_request", "members: the first member must be the coordinator")
        if proposal.epoch <= self._seen_epoch:
            raise refuse("stale_epoch", f"epoch {proposal.epoch}: epoch {self._seen_epoch} was seen already")
        self._seen_epoch = proposal.epoch

    def _check_group(self, group: str) -> None:
        if group != self._group:
            raise refuse("bad_request", f"group: this is a rank of {self._group}, not of {group}")

    def _check_order(self, fence: int, generation: int, what: str) -> None:
        if (fence, generation) < self.order:
            held = "fence {}, generation {}".format(*self.order)
            raise refuse("stale_fence", f"{what} of fence {fence}, generation {generation}: this rank holds {held}")

    def _check_member(self, members: list[RankRef]) -> None:
        mine = next((member for member in members if member.rank_id == self._me.rank_id), None)
        if mine is None:
            raise refuse("bad_request", f"members: {self._me.rank_id} is not among them")
        if mine.incarnation != self._me.incarnation:
            raise refuse(
                "wrong_incarnation",
                f"members: {mine.rank_id} is incarnation {self._me.incarnation} now, not {mine.incarnation}",
            )
