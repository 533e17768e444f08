"""Whether a serving epoch should end for another one."""

from __future__ import annotations

from collections.abc import Sequence

from csps_engine.wire.generated import RankRef, Roster


def reason_to_leave(
    me: RankRef, members: Sequence[RankRef], roster: Roster, living: Sequence[RankRef]
) -> str | None:
    """Why this epoch should end, or None. `members[0]` coordinates; only it needs to know who lives.

    The coordinator takes in whoever came back and leaves out whoever the operator removed. Another member only
    leaves when its coordinator is no longer on the roster.
    """
    wanted = {(member.rank_id, member.incarnation) for member in roster.members}
    present = [(member.rank_id, member.incarnation) for member in members]
    if present[0] not in wanted:
        return f"coordinator {members[0].rank_id} is no longer on the roster"
    if members[0].rank_id != me.rank_id:
        return None
    removed = [rank_id for rank_id, incarnation in present if (rank_id, incarnation) not in wanted]
    if removed:
        return f"the roster no longer holds {', '.join(removed)}"
    joining = [m.rank_id for m in living if (m.rank_id, m.incarnation) not in present]
    return f"{', '.join(joining)} can join" if joining else None
