from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csps_engine.core.plan import DecodeRow, Place, Sampling
from csps_engine.scheduler.move import MoveCommit, MoveTicket
from csps_engine.scheduler.ticks import Advance, Holding, PrefillOrder, Tick, tick_from_bytes

names = st.text(min_size=1, max_size=8)
counts = st.integers(min_value=0, max_value=2**40)
samplings = st.builds(
    Sampling,
    temperature=st.floats(0, 2),
    top_p=st.floats(0.01, 1),
    seed=counts,
    logprobs=st.integers(0, 20),
    want_logprobs=st.booleans(),
)
places = st.builds(Place, counts, counts)
orders = st.builds(PrefillOrder, sampling=samplings)


def few(items: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(items, max_size=2).map(tuple)


FIELDS: dict[str, st.SearchStrategy[object]] = {
    "kind": st.sampled_from(["idle", "decode", "prefill", "leave"]),
    "reason": names,
    "sync": st.booleans(),
    "ended": few(names),
    "held": few(st.builds(Holding, places=st.lists(places, max_size=2).map(tuple))),
    "admitted": few(names),
    "rows": few(st.builds(DecodeRow, sampling=samplings)),
    "orders": few(orders),
    "advances": few(st.builds(Advance)),
    "measures": st.booleans(),
    "tickets": few(st.builds(MoveTicket)),
    "dropped": few(names),
    "commits": few(st.builds(MoveCommit)),
    "asks_moves": st.booleans(),
    "closed": st.none() | few(counts),
    "book": st.none() | st.dictionaries(names, st.lists(counts, max_size=2), max_size=2),
}


@pytest.mark.parametrize("field", [field.name for field in fields(Tick)])
def test_every_member_reads_what_the_coordinator_wrote(field: str) -> None:
    @settings(max_examples=20)
    @given(FIELDS[field])
    def check(value: object) -> None:
        tick = Tick(**{"kind": "idle", field: value})
        assert tick_from_bytes(tick.to_bytes()) == tick

    check()


@settings(max_examples=20)
@given(orders, orders)
def test_orders_that_differ_in_any_field_are_not_told_alike(one: PrefillOrder, other: PrefillOrder) -> None:
    for field in fields(PrefillOrder):
        mixed = {f.name: getattr(other if f is field else one, f.name) for f in fields(PrefillOrder)}
        differ = getattr(one, field.name) != getattr(other, field.name)
        told = Tick("prefill", orders=(PrefillOrder(**mixed),)).to_bytes()
        assert (told != Tick("prefill", orders=(one,)).to_bytes()) == differ, field.name
