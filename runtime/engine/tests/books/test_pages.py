from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csps_engine.scheduler.pages import PageAllocator
from csps_engine.scheduler.pool_book import PoolBook, PoolMember
from csps_engine.scheduler.request import DecodeOrder, PoolRequest
from csps_engine.scheduler.scan import scanned_tokens
from csps_engine.scheduler.spread import choose_home, spread_pages


@given(st.integers(1, 60), st.lists(st.tuples(st.booleans(), st.integers(1, 12)), max_size=60))
def test_slots_are_never_lost_or_handed_out_twice(total: int, moves: list[tuple[bool, int]]) -> None:
    allocator, held = PageAllocator(total), []
    for takes, amount in moves:
        if takes and amount <= allocator.free:
            slots = allocator.take(amount)
            assert len(slots) == amount
            held.append(slots)
        elif not takes and held:
            allocator.release(held.pop(amount % len(held)))
        in_use = [slot for slots in held for slot in slots]
        assert sorted([*in_use, *allocator.free_slots()]) == list(range(total))
        assert allocator.free == total - len(in_use)


def test_slots_are_consecutive_when_a_run_is_long_enough() -> None:
    allocator = PageAllocator(20)
    first, second, _ = allocator.take(4), allocator.take(6), allocator.take(5)
    allocator.release(second)
    allocator.release(first[:2])
    assert allocator.take(5) == [15, 16, 17, 18, 19]
    assert allocator.take(6) == second


def test_a_freed_pool_is_one_run_again() -> None:
    allocator = PageAllocator(9)
    slots = allocator.take(9)
    allocator.release(slots[::2])
    allocator.release(slots[1::2])
    assert allocator.take(9) == list(range(9))


@pytest.mark.parametrize("slots", [[3], [10], [-1]])
def test_a_slot_that_is_not_handed_out_cannot_come_back(slots: list[int]) -> None:
    allocator = PageAllocator(10)
    allocator.take(3)
    with pytest.raises(ValueError, match="not handed out"):
        allocator.release(slots)


RANKS = st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e"]), st.integers(0, 200), min_size=1)


@given(RANKS, RANKS, st.integers(1, 400))
def test_a_spread_uses_no_page_that_is_not_free(free: dict[str, int], scanned: dict[str, int], count: int) -> None:
    owners = spread_pages(free, scanned, count - count // 3, count // 3)
    if owners is None:
        assert count > sum(free.values())
    else:
        assert len(owners) == count
        assert all(owners.count(rank) <= pages for rank, pages in free.items())


@given(st.integers(1, 8), st.integers(1, 300))
def test_equal_ranks_get_equal_shares_up_to_a_block(ranks: int, count: int) -> None:
    owners = spread_pages({f"r{i}": 300 for i in range(ranks)}, {}, count, 0) or []
    shares = [owners.count(f"r{i}") for i in range(ranks)]
    assert max(shares) - min(shares) <= 4


def test_the_rank_that_is_scanned_more_gets_less() -> None:
    owners = spread_pages({"busy": 60, "idle": 60}, {"busy": 20, "idle": 0}, 30, 10) or []
    assert abs(owners.count("idle") - 30) <= 4


@settings(max_examples=40)
@given(st.integers(2, 8), st.lists(st.integers(500, 16_000), min_size=32, max_size=32), st.integers(0, 4_000))
def test_a_batch_of_mixed_lengths_is_scanned_evenly_at_every_length_of_the_answers(
    ranks: int, prompts: list[int], answer: int
) -> None:
    book = PoolBook()
    book.start_epoch(1, [PoolMember(f"r{i}", f"uid-{i}", 20_000) for i in range(ranks)])
    for number, prompt in enumerate(prompts):
        assert isinstance(book.reserve(f"q{number}", prompt, 4_000, 0.0), PoolRequest)
    for request in book.requests.values():
        request.begin(DecodeOrder(1, 4_000))
        request.checked, request.position = True, request.prompt_tokens + answer
    scanned = scanned_tokens(book).values()
    assert max(scanned) / (sum(scanned) / ranks) <= 1.1


def test_slots_can_be_claimed_by_number() -> None:
    allocator = PageAllocator(10)
    allocator.claim([3, 4, 9])
    assert allocator.free_slots() == {0, 1, 2, 5, 6, 7, 8}
    assert sorted(allocator.take(7)) == [0, 1, 2, 5, 6, 7, 8]
    with pytest.raises(ValueError, match="slot 3 is not free"):
        allocator.claim([3])


def test_a_home_has_the_fewest_rows() -> None:
    assert choose_home({"a": 2, "b": 1, "c": 1}) == "b"
