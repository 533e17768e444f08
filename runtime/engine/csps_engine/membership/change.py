"""Whether a serving epoch should end for another one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from csps_engine.membership.election import needed_members
from csps_engine.wire.generated import RankRef, Roster


@dataclass(frozen=True, slots=True)
class Watch:
    """What a member knows while its epoch serves."""

    me: RankRef
    members: Sequence[RankRef]
    """In mesh order: the first coordinates."""
    roster: Roster
    living: Sequence[RankRef]
    """Roster members that could join an epoch now. Only the coordinator needs to know."""
    leaving: Collection[str] = ()
    """Members that drain or were removed, and still hold something that can be moved off them in time."""
    emptied: Collection[str] = ()
    """Members that drain or were removed, and hold nothing any more."""


def reason_to_leave(watch: Watch) -> str | None:
    """Why this epoch should end, or None.

    The coordinator takes in whoever came back, and leaves out whom the operator removed and who has drained, if
    enough remain; it waits for the pages of those that leave. Another member only leaves when its coordinator is no
    longer on the roster and does not leave in good order.
    """
    coordinator = watch.members[0].rank_id
    removed = removed_members(watch.members, watch.roster)
    if coordinator in removed and coordinator not in watch.leaving:
        return f"coordinator {coordinator} is no longer on the roster"
    if coordinator != watch.me.rank_id:
        return None
    gone = [rank_id for rank_id in removed if rank_id not in watch.leaving]
    if gone:
        return f"the roster no longer holds {', '.join(gone)}"
    present = [(member.rank_id, member.incarnation) for member in watch.members]
    joining = [m.rank_id for m in watch.living if (m.rank_id, m.incarnation) not in present]
    if joining:
        return f"{', '.join(joining)} can join"
    drained = [rank_id for rank_id, _ in present if rank_id in watch.emptied]
    if drained and len(watch.living) >= needed_members(watch.roster):
        return f"{', '.join(drained)} has drained"
    return None


def removed_members(members: Sequence[RankRef], roster: Roster) -> list[str]:
    """Members of an epoch that the roster does not hold, or holds as another incarnation."""
    wanted = {(member.rank_id, member.incarnation) for member in roster.members}
    return [member.rank_id for member in members if (member.rank_id, member.incarnation) not in wanted]
