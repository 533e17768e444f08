from __future__ import annotations

import pytest

from csps_engine.core.plan import DecodeRow, Place, Sampling
from csps_engine.refusal import Refused
from csps_engine.scheduler.move import MoveCommit, MoveTicket
from csps_engine.scheduler.replica import IncomingPage, Replica
from csps_engine.scheduler.ticks import Holding, PrefillOrder, Tick, tick_from_bytes

LAYERS = 2
HELD = Holding("r", version=3, prompt_tokens=100, home=0, places=(Place(0, 7), Place(1, 4), Place(0, 8)))


def replica_of(rank: int) -> Replica:
    replica = Replica(LAYERS)
    replica.apply(Tick("idle", held=(HELD,)), rank)
    return replica


def push(replica: Replica, layer: int = 0, page: IncomingPage | None = None, version: int = 3) -> list[str]:
    stored: list[str] = []
    replica.write("r", version, layer, [page or IncomingPage(0, 7, 64)], lambda: stored.append("stored"))
    return stored


def test_a_prompt_is_complete_with_every_layer_of_every_page_here() -> None:
    replica = replica_of(0)
    assert replica.missing_pages("r") == 1
    assert push(replica, layer=0) == ["stored"]
    assert replica.missing_pages("r") == 1
    push(replica, layer=1)
    assert replica.missing_pages("r") == 0
    assert replica.held_pages == 2


@pytest.mark.parametrize(
    ("page", "layer", "version", "code"),
    [
        (IncomingPage(0, 7, 64), 0, 2, "stale_epoch"),
        (IncomingPage(0, 6, 64), 0, 3, "bad_request"),
        (IncomingPage(1, 4, 36), 0, 3, "bad_request"),
        (IncomingPage(2, 8, 64), 0, 3, "bad_request"),
        (IncomingPage(0, 7, 63), 0, 3, "bad_request"),
        (IncomingPage(0, 7, 64), 2, 3, "bad_request"),
    ],
    ids=["old version", "another slot", "a page of another rank", "no page of the prompt", "too short", "no layer"],
)
def test_late_or_wrong_kv_is_not_stored(page: IncomingPage, layer: int, version: int, code: str) -> None:
    with pytest.raises(Refused) as refused:
        push(replica_of(0), layer, page, version)
    assert refused.value.failure.code == code


def sharing(rank: int) -> Replica:
    """Request s shares the first two pages of r."""
    replica = replica_of(rank)
    places = (*HELD.places[:2], Place(0, 9))
    replica.apply(Tick("idle", held=(Holding("s", 4, 150, 1, places, shared_pages=2),)), rank)
    return replica


def test_shared_pages_are_there_already_and_nobody_writes_to_them() -> None:
    replica = sharing(0)
    assert (replica.missing_pages("s"), sharing(1).missing_pages("s")) == (1, 0)
    for page in (IncomingPage(0, 7, 64), IncomingPage(1, 4, 64)):
        with pytest.raises(Refused):
            replica.write("s", 4, 0, [page], lambda: pytest.fail("a shared page was written"))
    for layer in range(LAYERS):
        replica.write("s", 4, layer, [IncomingPage(2, 9, 22)], lambda: None)
    assert replica.missing_pages("s") == 0
    assert replica.held_pages == 3


def test_a_prompt_that_is_decoded_is_final_over_epochs() -> None:
    replica = replica_of(0)
    replica.apply(Tick("idle", admitted=("r",)), 0)
    replica.apply(Tick("idle", sync=True, held=(HELD,)), 0)
    with pytest.raises(Refused, match="its KV is final"):
        push(replica)


def test_a_shared_page_moves_for_whoever_holds_it() -> None:
    replica = sharing(1)
    replica.apply(Tick("idle", tickets=(MoveTicket("m", "r", 0, 1, 0, (3,), 192, 0, 500, False),)), 1)
    replica.switch((MoveCommit("m", 1, 192),))
    for request_id in ("r", "s"):
        assert replica.table(request_id, 64).places[:2] == (Place(1, 3), Place(1, 4))
    assert replica.held_pages == 2


def test_nothing_is_stored_after_the_request_ended() -> None:
    replica = replica_of(0)
    replica.apply(Tick("idle", ended=("r",)), 0)
    with pytest.raises(Refused) as refused:
        push(replica)
    assert refused.value.failure.code == "unknown_request"
    assert replica.held_pages == 0


def test_what_was_received_survives_a_new_epoch_but_not_a_new_reservation() -> None:
    replica = replica_of(0)
    push(replica, layer=0)
    push(replica, layer=1)
    moved = Holding("r", 3, 100, 1, (Place(1, 7), Place(0, 4), Place(1, 8)))
    replica.apply(Tick("idle", sync=True, held=(moved,)), 1)
    assert replica.missing_pages("r") == 0
    replica.apply(Tick("idle", sync=True, held=(Holding("r", 4, 100, 1, moved.places),)), 1)
    assert replica.missing_pages("r") == 1


def test_the_first_tick_of_an_epoch_forgets_what_it_does_not_name() -> None:
    replica = replica_of(0)
    replica.apply(Tick("idle", sync=True), 0)
    assert replica.held_pages == 0


def moving_to(rank: int) -> Replica:
    """Page 2 of r, full, goes from slot 8 of rank 0 to slot 5 of rank 1, with the home."""
    replica = replica_of(rank)
    ticket = MoveTicket("m", "r", 0, 1, 2, (5,), 192, 0, 500, True)
    replica.apply(Tick("idle", tickets=(ticket,)), rank)
    return replica


def test_moved_pages_are_taken_by_their_target_while_the_move_lasts() -> None:
    stored: list[str] = []
    page = IncomingPage(2, 5, 64)
    target = moving_to(1)
    target.write_moved("m", range(1), [page], lambda: stored.append("stored"))
    assert stored == ["stored"]
    for replica, move, incoming in (
        (moving_to(0), "m", page),
        (target, "n", page),
        (target, "m", IncomingPage(2, 6, 64)),
        (target, "m", IncomingPage(1, 5, 64)),
        (target, "m", IncomingPage(2, 5, 63)),
    ):
        with pytest.raises(Refused):
            replica.write_moved(move, range(1), [incoming], lambda: stored.append("wrong"))
    target.apply(Tick("idle", dropped=("m",)), 1)
    with pytest.raises(Refused):
        target.write_moved("m", range(1), [page], lambda: stored.append("late"))
    assert stored == ["stored"]


def test_a_commit_switches_pages_and_home() -> None:
    source, target = moving_to(0), moving_to(1)
    assert (source.homes, source.held_pages, target.held_pages) == (1, 2, 1)
    for replica in (source, target):
        replica.switch((MoveCommit("m", 1, 192),))
    assert target.table("r", 192).places == (Place(0, 7), Place(1, 4), Place(1, 5))
    assert (source.homes, source.held_pages, target.homes, target.held_pages) == (0, 1, 1, 2)
    assert source.tickets == []


def test_a_tick_survives_its_bytes() -> None:
    sampling = Sampling(0.5, 0.9, 2**53 - 1, 3, True)
    tick = Tick(
        kind="decode",
        reason="why",
        sync=True,
        ended=("x",),
        held=(HELD,),
        admitted=("r",),
        rows=(DecodeRow("r", 1, 5, 100, sampling),),
        orders=(PrefillOrder("p", (1, 2, 3), sampling, "{}", 500, (0, 2), pieces=4),),
        tickets=(MoveTicket("m", "r", 0, 1, 2, (7, 9), 130, 1000, 500, True),),
        dropped=("n",),
        commits=(MoveCommit("o", 1, 77),),
        asks_moves=True,
        closed=(1, 2),
        book={"epoch": 3},
    )
    assert tick_from_bytes(tick.to_bytes()) == tick
    assert tick_from_bytes(Tick("idle").to_bytes()) == Tick("idle")
