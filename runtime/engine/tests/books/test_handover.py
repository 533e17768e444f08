from __future__ import annotations

import json
from dataclasses import replace

import pytest

from csps_engine.core.plan import Sampling
from csps_engine.scheduler.handover import read_handover, write_handover
from csps_engine.scheduler.pool_book import PoolBook, PoolMember
from csps_engine.scheduler.request import DecodeOrder, PoolRequest
from csps_engine.scheduler.tick_terms import rows_of

MEMBERS = [PoolMember(rank, f"{rank}-uid", 20) for rank in ("a", "b", "c")]


def left_by_a() -> PoolBook:
    """A pool whose coordinator a holds nothing any more: one request decodes, one is reserved."""
    book = PoolBook()
    book.start_epoch(4, MEMBERS)
    book.closed = frozenset({"a"})
    for name in ("decoding", "reserved"):
        assert isinstance(book.reserve(name, 300, 100, lease_until=50.0), PoolRequest)
    sampling = Sampling(0.5, 0.9, 7, 2, True)
    book.begin("decoding", DecodeOrder(5, 90, frozenset({1, 2}), sampling))
    request = book.requests["decoding"]
    request.checked = True
    request.advance(9)
    return book


def test_a_book_survives_its_document_and_the_next_coordinator_goes_on_with_it() -> None:
    book = left_by_a()
    document = json.loads(json.dumps(write_handover(book, epoch=4, now=20.0)))
    handed = read_handover(document, now=1000.0)
    taken = PoolBook()
    taken.restore(handed.epoch, handed.members, handed.requests)
    taken.check_integrity()
    assert {r.request_id: replace(r, lease_until=0) for r in handed.requests} == {
        r.request_id: replace(r, lease_until=0) for r in book.requests.values()
    }
    assert handed.requests[1].lease_until == 1030.0
    assert taken.start_epoch(5, MEMBERS[1:]) == []
    taken.check_integrity()
    (row,) = rows_of(taken, 10)
    assert (row.request_id, row.token_id, row.position, row.sampling.seed) == ("decoding", 9, 301, 7)
    assert taken.free_of("b") == book.free_of("b")


def test_requests_with_pages_on_a_rank_that_did_not_come_along_are_lost() -> None:
    handed = read_handover(write_handover(left_by_a(), epoch=4, now=0.0), now=0.0)
    taken = PoolBook()
    taken.restore(handed.epoch, handed.members, handed.requests)
    assert sorted(taken.start_epoch(5, [MEMBERS[1]])) == ["decoding", "reserved"]
    assert taken.pages_free == 20


def test_a_book_with_a_slot_held_twice_is_not_taken() -> None:
    handed = read_handover(write_handover(left_by_a(), epoch=4, now=0.0), now=0.0)
    handed.requests[0].pages[0] = handed.requests[1].pages[0]
    with pytest.raises(ValueError, match="is held 2 times and has no key"):
        PoolBook().restore(handed.epoch, handed.members, handed.requests)
