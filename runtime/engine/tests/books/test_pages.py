from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csps_engine.scheduler.pages import PageAllocator
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


@given(RANKS, st.integers(1, 400))
def test_a_spread_uses_no_page_that_is_not_free(free: dict[str, int], count: int) -> None:
    owners = spread_pages(free, count)
    if owners is None:
        assert count > sum(free.values())
    else:
        assert len(owners) == count
        assert all(owners.count(rank) <= pages for rank, pages in free.items())


@given(st.integers(1, 8), st.integers(1, 300))
def test_equal_ranks_get_equal_shares_up_to_a_block(ranks: int, count: int) -> None:
    owners = spread_pages({f"r{i}": 300 for i in range(ranks)}, count) or []
    shares = [owners.count(f"r{i}") for i in range(ranks)]
    assert max(shares) - min(shares) <= 4


def test_the_fuller_rank_gets_less() -> None:
    owners = spread_pages({"full": 20, "empty": 60}, 40) or []
    assert abs(owners.count("empty") - 30) <= 4


def test_a_home_has_the_fewest_rows() -> None:
    assert choose_home({"a": 2, "b": 1, "c": 1}) == "b"
