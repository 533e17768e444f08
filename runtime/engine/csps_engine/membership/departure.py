"""Who is leaving an epoch, and for how long it waits for them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from csps_engine.wire.generated import RankRef, RankState


class Departures:
    """Remembers since when each member leaves. Times are the caller's seconds."""

    def __init__(self, grace_seconds: float) -> None:
        self._grace = grace_seconds
        self._since: dict[tuple[str, str], float] = {}

    def note(
        self,
        members: Iterable[RankRef],
        removed: Collection[str],
        states: Mapping[str, RankState],
        now: float,
    ) -> frozenset[str]:
        """Members that drain, by their own word, or were removed from the roster; to be called regularly."""
        leaving = {
            (m.rank_id, m.incarnation)
            for m in members
            if m.rank_id in removed
            or ((state := states.get(m.rank_id)) is not None and state.phase in ("draining", "drained"))
        }
        self._since = {who: self._since.get(who, now) for who in leaving}
        return frozenset(rank_id for rank_id, _ in leaving)

    def awaited(self, emptied: Collection[str], states: Mapping[str, RankState], now: float) -> frozenset[str]:
        """Of those, whoever lives, still holds something, and is within its time."""
        return frozenset(
            rank_id
            for (rank_id, incarnation), since in self._since.items()
            if rank_id not in emptied
            and now - since < self._grace
            and (state := states.get(rank_id)) is not None
            and state.rank.incarnation == incarnation
        )
