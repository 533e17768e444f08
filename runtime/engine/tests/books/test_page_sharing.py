from __future__ import annotations

from csps_engine.scheduler.emptying import plan_emptying
from csps_engine.scheduler.move import MoveAsk, MoveProgress
from csps_engine.scheduler.move_book import MoveBook
from csps_engine.scheduler.pool_book import NoPages, PoolBook, PoolMember
from csps_engine.scheduler.request import DecodeOrder, PoolRequest

PAGES = 10
RANKS = ("a", "b", "c")


def pool_of(pages: int = PAGES, ranks: tuple[str, ...] = RANKS) -> PoolBook:
    book = PoolBook()
    book.start_epoch(1, [PoolMember(rank, f"{rank}1", pages) for rank in ranks])
    return book


def keys_of(beginning: str, tokens: int) -> tuple[str, ...]:
    return tuple(f"{beginning}-{page}" for page in range(tokens // 64))


def reserve(book: PoolBook, name: str, prompt: int = 320, beginning: str = "system") -> PoolRequest:
    request = book.reserve(name, prompt, 64, 10.0, keys_of(beginning, prompt))
    assert isinstance(request, PoolRequest)
    return request


def decode(book: PoolBook, name: str, shareable: bool = True) -> None:
    book.begin(name, DecodeOrder(5, 64, shareable=shareable))
    book.settle(name)


def served(book: PoolBook, name: str, **of: int) -> PoolRequest:
    """A request that is being decoded."""
    request = reserve(book, name, **of)
    decode(book, name)
    return request


def ask(book: PoolBook, name: str, page: int, target: str, move_id: str) -> MoveAsk:
    request = book.requests[name]
    source = request.pages[page].rank
    return MoveAsk(
        move_id=move_id,
        fence=1,
        request_id=name,
        map_version=request.map_version,
        source=source,
        source_incarnation=source + "1",
        target=target,
        target_incarnation=target + "1",
        first_page=page,
        pages=1,
        bytes_per_second=0,
        takes_home=False,
        deadline_ms=1000,
    )


def test_prompts_that_begin_alike_share_the_pages_of_their_beginning() -> None:
    book = pool_of()
    first = served(book, "first")
    free = book.pages_free
    second = reserve(book, "second", prompt=400)
    assert (second.shared_pages, second.pages[:5]) == (5, first.pages[:5])
    assert free - book.pages_free == 8 - 5
    assert not set(second.pages[5:]) & set(first.pages)
    other = reserve(book, "other", beginning="another system")
    assert other.shared_pages == 0
    book.check_integrity()


def test_the_last_token_of_a_prompt_is_never_shared_for_it_has_to_be_computed() -> None:
    book = pool_of()
    served(book, "first")
    assert reserve(book, "again").shared_pages == 4


def test_pages_are_shared_only_once_their_kv_is_complete_and_exact() -> None:
    book = pool_of()
    reserve(book, "first")
    assert reserve(book, "while it is prefilled").shared_pages == 0
    decode(book, "first", shareable=False)
    assert reserve(book, "after a sparse prefill").shared_pages == 0
    decode(book, "while it is prefilled")
    assert reserve(book, "after an exact one").shared_pages == 4


def test_of_two_that_computed_the_same_page_the_first_stays_and_the_second_frees_its_own() -> None:
    book = pool_of()
    first, second = reserve(book, "first"), reserve(book, "second")
    for name in ("first", "second"):
        decode(book, name)
    assert reserve(book, "third").pages[:4] == first.pages[:4]
    book.end("second")
    book.check_integrity()
    assert not set(second.pages) & {page for _, page in book.ledger.keyed}


def test_pages_outlive_their_requests_while_nobody_needs_the_room() -> None:
    book = pool_of()
    first = served(book, "first")
    book.end("first")
    assert book.pages_free == 3 * PAGES
    again = reserve(book, "again")
    assert (again.shared_pages, again.pages[:4]) == (4, first.pages[:4])
    book.check_integrity()


def test_what_nobody_used_for_longest_gives_way_and_what_is_held_never_does() -> None:
    book = pool_of(pages=13, ranks=("a",))
    for name in ("old", "new"):
        served(book, name, beginning=name)
        book.end(name)
    held = served(book, "held", prompt=128, beginning="new")
    assert held.shared_pages == 1
    before = set(held.pages)
    assert isinstance(book.reserve("big", 64 * 8, 64, 1.0), PoolRequest)
    kept = {key for key, _ in book.ledger.keyed}
    assert {"new-0", "new-1"} <= kept
    assert "old-4" not in kept
    assert book.ledger.evicted > 0
    assert set(held.pages) == before
    refused = book.reserve("bigger", 64 * 6, 64, 1.0)
    assert isinstance(refused, NoPages)
    assert refused.missing == 7 - refused.free
    book.check_integrity()


def test_the_end_of_a_prompt_gives_way_before_its_beginning() -> None:
    book = pool_of(pages=6, ranks=("a",))
    served(book, "first")
    book.end("first")
    assert isinstance(book.reserve("other", 64, 64, 1.0), PoolRequest)
    assert sorted(key for key, _ in book.ledger.keyed) == ["system-0", "system-1", "system-2", "system-3"]


def test_a_refused_reservation_leaves_the_shared_pages_as_they_were() -> None:
    book = pool_of(pages=6, ranks=("a",))
    served(book, "first")
    book.end("first")
    refused = book.reserve("long", 64 * 9, 64, 1.0, keys_of("system", 64 * 9))
    assert refused == NoPages(missing=10 - 5 - 1, free=1)
    assert book.pages_free == 6
    assert reserve(book, "short").shared_pages == 4


def test_a_shared_page_moves_once_for_everyone_who_holds_it() -> None:
    book = pool_of()
    served(book, "first")
    served(book, "second")
    moves, target = MoveBook(book, 1), next(r for r in RANKS if r != book.requests["first"].pages[0].rank)
    one = moves.begin(ask(book, "first", 0, target, "one"), 0.0)
    two = moves.begin(ask(book, "second", 0, target, "two"), 0.0)
    moves.take_tickets(0.0)
    for move_id in ("one", "two"):
        moves.note(move_id, MoveProgress(1, 1, failed=False), 0.0)
    assert [commit.move_id for commit in moves.take_commits(0.0)] == ["one"]
    changed = moves.confirm(0.0, 0.0)
    assert {request.request_id for request in changed} == {"first", "second"}
    pages = {book.requests[name].pages[0] for name in ("first", "second")}
    assert {page.rank for page in pages} == {target}
    assert len(pages) == 1
    assert [book.requests[name].map_version for name in ("first", "second")] == [2, 2]
    assert moves.take_commits(0.0) == ()
    assert (one.phase, two.phase) == ("committed", "failed")
    assert reserve(book, "third").pages[0] in pages
    book.check_integrity()


def test_a_leaving_rank_forgets_what_nobody_holds_and_moves_shared_pages_once() -> None:
    book = pool_of()
    for name in ("first", "second", "gone"):
        served(book, name, beginning="gone" if name == "gone" else "system")
    book.end("gone")
    leaver = book.requests["first"].pages[0].rank
    book.closed = frozenset({leaver})
    assert all(page.rank != leaver or page in book.requests["first"].pages for _, page in book.ledger.keyed)
    assert reserve(book, "third").shared_pages == 0
    moves, rounds = MoveBook(book, 1), 0
    book.end("third")
    while not book.is_empty(leaver):
        asks = plan_emptying(book, set(), 100 * rounds + 1, fence=1)
        rounds += 1
        assert asks
        for one in asks:
            moves.begin(one, 0.0)
        moves.take_tickets(0.0)
        for one in asks:
            moves.note(one.move_id, MoveProgress(one.pages, 1, failed=False), 0.0)
        moves.take_commits(0.0)
        moves.confirm(0.0, 0.0)
        book.check_integrity()
    assert {move.phase for move in moves.moves} == {"committed"}
    assert book.requests["first"].pages[:4] == book.requests["second"].pages[:4]
    assert book.emptied() == {leaver}


def test_a_lost_rank_takes_all_who_share_its_pages_and_leaves_the_beginning_before_them() -> None:
    book = pool_of()
    first = served(book, "first", prompt=640)
    second = served(book, "second", prompt=640)
    assert second.shared_pages == 9
    lost = next(page.rank for page in first.pages if page.rank != first.pages[0].rank)
    left = next(number for number, page in enumerate(first.pages) if page.rank == lost)
    members = [PoolMember(rank, f"{rank}1", PAGES) for rank in RANKS if rank != lost]
    assert set(book.start_epoch(2, members)) == {"first", "second"}
    book.check_integrity()
    assert book.pages_free == 2 * PAGES
    assert reserve(book, "third", prompt=640).shared_pages == left
