"""Whether a serving epoch should end for another one."""

from __future__ import annotations

from collections.abc import Sequence
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
    emptied: Sequence[str] = ()
    """Members that drain and hold nothing any more."""


def reason_to_leave(watch: Watch) -> str | None:
    """Why this epoch should end, or None.

    The coordinator takes in whoever came back, and leaves out whom the operator removed and who has drained, if
    enough remain. Another member only leaves when its coordinator is no longer on the roster.
    """
    wanted = {(member.rank_id, member.incarnation) for member in watch.roster.members}
    present = [(member.rank_id, member.incarnation) for member in watch.members]
    if present[0] not in wanted:
        return f"coordinator {watch.members[0].rank_id} is no longer on the roster"
    if watch.members[0].rank_id != watch.me.rank_id:
        return None
    removed = [rank_id for rank_id, incarnation in present if (rank_id, incarnation) not in wanted]
    if removed:
        return f"the roster no longer holds {', '.join(removed)}"
    joining = [m.rank_id for m in watch.living if (m.rank_id, m.incarnation) not in present]
    if joining:
        return f"{', '.join(joining)} can join"
    drained = [rank_id for rank_id, _ in present if rank_id in watch.emptied]
    if drained and len(watch.living) >= needed_members(watch.roster):
        return f"{', '.join(drained)} has drained"
    return None
