from __future__ import annotations

import pytest

from csps_engine.core.plan import DecodeRow, Place, Sampling
from csps_engine.refusal import Refused
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
        order=PrefillOrder("p", (1, 2, 3), sampling, "{}", 500),
    )
    assert tick_from_bytes(tick.to_bytes()) == tick
    assert tick_from_bytes(Tick("idle").to_bytes()) == Tick("idle")
