from __future__ import annotations

from typing import Any

import pytest

from csps_engine.membership.change import Watch, reason_to_leave
from csps_engine.membership.departure import Departures
from csps_engine.membership.election import Ballot, Follow, Propose, Wait, elect
from csps_engine.membership.roster_book import RosterBook
from csps_engine.refusal import Refused
from csps_engine.wire.generated import EpochProposal, RankRef, RankState, Roster

NAMES = ("g-0", "g-1", "g-2", "g-3")


def ref(rank_id: str, incarnation: str = "one") -> RankRef:
    return RankRef(
        rank_id=rank_id,
        incarnation=f"{rank_id}-{incarnation}",
        address="10.0.0.1",
        control_port=9000,
        transfer_port=9001,
    )


def roster(*names: str, fence: int = 1, generation: int = 1, min_size: int = 1) -> Roster:
    return Roster(
        group="g", role="decode", fence=fence, generation=generation, min_size=min_size, members=[ref(n) for n in names]
    )


def state(name: str, **fields: Any) -> RankState:
    standard: dict[str, Any] = {
        "rank": ref(name),
        "role": "decode",
        "deployment": "d",
        "group": "g",
        "phase": "forming",
        "reason": "",
        "fence": 1,
        "generation": 1,
        "epoch": 0,
        "epoch_members": [],
        "model": "m",
        "kv_format": "f",
        "context_length": 10,
        "page_tokens": 64,
        "pages_total": 1,
        "pages_free": 1,
        "pool_pages_total": 0,
        "pool_pages_free": 0,
        "running": 0,
        "waiting": 0,
        "last_break": "",
    }
    return RankState(**{**standard, **fields})


def ballot(me: str, *states: RankState, of: Roster | None = None, seen: int = 0) -> Ballot:
    return elect(ref(me), of or roster(*NAMES), {s.rank.rank_id: s for s in states}, seen)


def test_the_lowest_living_member_proposes_to_the_living() -> None:
    living = [state(n) for n in NAMES[1:]]
    assert ballot("g-1", *living) == Propose(1, (ref("g-1"), ref("g-2"), ref("g-3")))
    assert ballot("g-3", *living) == Follow(ref("g-1"))


def test_half_of_the_roster_is_not_enough() -> None:
    answer = ballot("g-0", state("g-0"), state("g-1"))
    assert isinstance(answer, Wait)
    assert answer.reason == "2 of 4 roster members can join, 3 are needed; without: g-2, g-3"


def test_the_minimum_size_holds_beyond_the_majority() -> None:
    answer = ballot("g-0", *(state(n) for n in NAMES[:3]), of=roster(*NAMES, min_size=4))
    assert isinstance(answer, Wait)


def test_the_coordinator_of_the_newest_epoch_proposes_again_and_stands_first() -> None:
    states = [state(n, epoch=4 if n == "g-1" else 7, coordinator=ref("g-2")) for n in NAMES]
    assert ballot("g-2", *states) == Propose(8, (ref("g-2"), ref("g-0"), ref("g-1"), ref("g-3")))
    assert ballot("g-0", *states) == Follow(ref("g-2"))


def test_a_serving_coordinator_beats_a_newer_epoch_that_nobody_serves_in() -> None:
    states = [
        state("g-0", epoch=9, coordinator=ref("g-0")),
        state("g-1", epoch=8, phase="serving", coordinator=ref("g-1")),
        state("g-2", epoch=8, phase="serving", coordinator=ref("g-1")),
    ]
    assert ballot("g-0", *states) == Follow(ref("g-1"))


def test_an_epoch_number_is_above_all_that_anyone_saw() -> None:
    answer = ballot("g-0", state("g-0", epoch=3), state("g-1", epoch=5), state("g-2"), seen=11)
    assert isinstance(answer, Propose)
    assert answer.epoch == 12


@pytest.mark.parametrize(
    "unfit", [{"phase": "loading"}, {"phase": "draining"}, {"kv_format": "other"}, {"rank": ref("g-0", "two")}]
)
def test_who_cannot_join_is_left_out(unfit: dict[str, Any]) -> None:
    answer = ballot("g-1", state("g-0").model_copy(update=unfit), *(state(n) for n in NAMES[1:]))
    assert answer == Propose(1, (ref("g-1"), ref("g-2"), ref("g-3")))


def watch(me: str = "g-0", of: Roster | None = None, living: tuple[str, ...] = NAMES[:3], **rest: Any) -> Watch:
    members = [ref(n) for n in NAMES[:3]]
    return Watch(me=ref(me), members=members, roster=of or roster(*NAMES[:3]), living=[ref(n) for n in living], **rest)


def test_a_whole_epoch_goes_on() -> None:
    assert reason_to_leave(watch()) is None


def test_the_coordinator_takes_in_and_leaves_out() -> None:
    assert reason_to_leave(watch(of=roster(*NAMES), living=NAMES)) == "g-3 can join"
    assert reason_to_leave(watch(of=roster("g-0", "g-1"), living=NAMES[:2])) == "the roster no longer holds g-2"
    assert reason_to_leave(watch(living=NAMES[:2], emptied=["g-2"])) == "g-2 has drained"


def test_who_leaves_is_kept_until_its_pages_have_moved() -> None:
    smaller = roster("g-0", "g-1")
    assert reason_to_leave(watch(of=smaller, living=NAMES[:2], leaving=["g-2"])) is None
    assert reason_to_leave(watch(of=smaller, living=NAMES[:2], emptied=["g-2"])) == "the roster no longer holds g-2"
    successors = roster("g-1", "g-2")
    assert reason_to_leave(watch("g-1", of=successors, leaving=["g-0"])) is None
    assert reason_to_leave(watch("g-0", of=successors, leaving=["g-0"], living=NAMES[1:3])) is None
    assert reason_to_leave(watch("g-0", living=NAMES[1:3], emptied=["g-0"])) == "g-0 has drained"


def test_departures_have_their_time_and_end_with_death() -> None:
    departures, members = Departures(grace_seconds=10), [ref(n) for n in NAMES[:3]]
    states = {"g-0": state("g-0", phase="serving"), "g-1": state("g-1", phase="draining"), "g-2": state("g-2")}
    assert departures.note(members, ["g-2"], states, now=100.0) == {"g-1", "g-2"}
    assert departures.awaited((), states, now=101.0) == {"g-1", "g-2"}
    assert departures.awaited({"g-2"}, states, now=101.0) == {"g-1"}
    assert departures.awaited((), {**states, "g-1": state("g-1", rank=ref("g-1", "two"))}, now=101.0) == {"g-2"}
    assert departures.awaited((), {"g-0": states["g-0"]}, now=101.0) == frozenset()
    departures.note(members, ["g-2"], states, now=109.0)
    assert departures.awaited((), states, now=110.0) == frozenset()


def test_a_rank_that_drains_joins_epochs_while_it_holds_pages() -> None:
    states = [state("g-0", phase="draining", held_pages=3), *(state(n) for n in NAMES[1:])]
    assert ballot("g-0", *states) == Propose(1, tuple(ref(n) for n in NAMES))
    states[0] = state("g-0", phase="draining", held_pages=0)
    assert ballot("g-1", *states) == Propose(1, tuple(ref(n) for n in NAMES[1:]))


def test_a_drained_member_is_kept_while_too_few_would_remain() -> None:
    assert reason_to_leave(watch(of=roster(*NAMES[:3], min_size=3), living=NAMES[:2], emptied=["g-2"])) is None


def test_a_member_leaves_only_a_coordinator_that_was_removed() -> None:
    assert reason_to_leave(watch("g-1", of=roster("g-1", "g-2", "g-3"))) == "coordinator g-0 is no longer on the roster"
    assert reason_to_leave(watch("g-1", of=roster("g-0", "g-1"))) is None


def test_a_book_takes_newer_rosters_only() -> None:
    book = RosterBook("g", "decode", ref("g-0"))
    assert book.take_roster(roster("g-0", fence=2, generation=5))
    assert not book.take_roster(roster("g-0", fence=2, generation=5))
    assert book.take_roster(roster("g-0", fence=3, generation=1))
    with pytest.raises(Refused, match="stale_fence"):
        book.take_roster(roster("g-0", fence=2, generation=9))
    assert book.order == (3, 1)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"group": "h"}, "bad_request"),
        ({"role": "prefill"}, "bad_request"),
        ({"members": [ref("g-1")]}, "bad_request"),
        ({"members": [ref("g-0"), ref("g-0")]}, "bad_request"),
        ({"members": [ref("g-0", "two")]}, "wrong_incarnation"),
    ],
)
def test_a_roster_of_others_is_refused(change: dict[str, Any], code: str) -> None:
    book = RosterBook("g", "decode", ref("g-0"))
    with pytest.raises(Refused) as refused:
        book.take_roster(roster("g-0").model_copy(update=change))
    assert refused.value.failure.code == code
    assert book.roster is None


def proposal(epoch: int, fence: int = 1, first: str = "g-0") -> EpochProposal:
    return EpochProposal(
        group="g",
        epoch=epoch,
        fence=fence,
        generation=1,
        coordinator=ref("g-0"),
        members=[ref(first), ref("g-0" if first == "g-1" else "g-1")],
        store_host="10.0.0.1",
        store_port=5,
    )


def test_an_epoch_is_joined_once_and_never_an_older_one() -> None:
    book = RosterBook("g", "decode", ref("g-1"))
    book.take_roster(roster("g-0", "g-1"))
    book.take_proposal(proposal(5))
    for stale in (5, 4):
        with pytest.raises(Refused, match="stale_epoch"):
            book.take_proposal(proposal(stale))
    with pytest.raises(Refused, match="stale_fence"):
        book.take_proposal(proposal(6, fence=0))
    with pytest.raises(Refused, match="first member"):
        book.take_proposal(proposal(6, first="g-1"))
    assert book.seen_epoch == 5
