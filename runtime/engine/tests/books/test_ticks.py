from __future__ import annotations

from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from csps_engine.core.plan import DecodeRow, Place, Sampling
from csps_engine.scheduler.move import MoveCommit, MoveTicket
from csps_engine.scheduler.ticks import Holding, PrefillOrder, Tick, tick_from_bytes

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
ticks = st.builds(
    Tick,
    held=st.lists(st.builds(Holding, places=st.lists(places).map(tuple)), max_size=2).map(tuple),
    rows=st.lists(st.builds(DecodeRow, sampling=samplings), max_size=2).map(tuple),
    order=st.none() | orders,
    tickets=st.lists(st.builds(MoveTicket), max_size=2).map(tuple),
    commits=st.lists(st.builds(MoveCommit), max_size=2).map(tuple),
    book=st.none() | st.dictionaries(names, st.lists(counts)),
)


@given(ticks)
def test_every_member_reads_what_the_coordinator_wrote(tick: Tick) -> None:
    assert tick_from_bytes(tick.to_bytes()) == tick


@given(orders, orders)
def test_orders_that_differ_in_any_field_are_not_told_alike(one: PrefillOrder, other: PrefillOrder) -> None:
    for field in fields(PrefillOrder):
        mixed = {f.name: getattr(other if f is field else one, f.name) for f in fields(PrefillOrder)}
        differ = getattr(one, field.name) != getattr(other, field.name)
        told = Tick("prefill", order=PrefillOrder(**mixed)).to_bytes()
        assert (told != Tick("prefill", order=one).to_bytes()) == differ, field.name
