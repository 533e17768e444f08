from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from csps_engine.refusal import Refused
from csps_engine.scheduler.emptying import plan_emptying
from csps_engine.scheduler.move import Move, MoveAsk, MoveProgress, MoveTicket, tail_pages
from csps_engine.scheduler.move_book import MoveBook
from csps_engine.scheduler.pool_book import PoolBook, PoolMember
from csps_engine.scheduler.replica import IncomingPage, Replica
from csps_engine.scheduler.request import DecodeOrder, PoolRequest, pages_for
from csps_engine.scheduler.tick_terms import holding_of, rows_of
from csps_engine.scheduler.ticks import Tick, tick_from_bytes

PAGE = 64
PAGES = 24
RANKS = ("a", "b", "c")


def members(ranks: tuple[str, ...] = RANKS, incarnation: str = "1") -> list[PoolMember]:
    return [PoolMember(rank, rank + incarnation, PAGES) for rank in ranks]


@dataclass
class MemberRank:
    """A rank without tensors: the KV of a token is the pair (request or key of the page, position)."""

    replica: Replica = field(default_factory=lambda: Replica(1))
    kv: dict[tuple[int, int], tuple[str, int]] = field(default_factory=dict)
    """By (slot, offset in the page)."""

    def page(self, slot: int, tokens: int) -> list[tuple[str, int]]:
        return [self.kv[slot, offset] for offset in range(tokens)]

    def content(self, slot: int) -> list[tuple[str, int]]:
        """All that lies in a slot, whosever it is."""
        return [self.kv.get((slot, offset), ("", offset)) for offset in range(PAGE)]

    def store(self, slot: int, tokens: list[tuple[str, int]]) -> None:
        self.kv |= {(slot, offset): token for offset, token in enumerate(tokens)}


def token_of(request: PoolRequest, position: int) -> tuple[str, int]:
    """The KV of a token: pages with a key are the same for whoever shares them."""
    page = position // PAGE
    return (request.keys[page] if page < len(request.keys) else request.request_id, position)


class MovingPool(RuleBasedStateMachine):
    """A coordinator and its members over random interleavings of requests, steps, copies, cancels and epochs."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = PoolBook()
        self.moves = MoveBook(self.pool, page_bytes=1)
        self.ranks = {rank: MemberRank() for rank in RANKS}
        self.copied: dict[str, int] = {}
        self.tickets: dict[str, MoveTicket] = {}
        self.sources: dict[str, list[int]] = {}
        """The source's slots when each move began: what its copying thread reads."""
        self.ended: list[str] = []
        self.new: list[str] = []
        self.made, self.epoch, self.now = 0, 0, 0.0
        self.change_epoch(order=RANKS)

    @rule(prompt=st.integers(1, 500), answer=st.integers(1, 200), kind=st.integers(0, 2))
    def arrive(self, prompt: int, answer: int, kind: int) -> None:
        """Prompts of one kind begin alike; those of kind 0 share nothing."""
        self.made += 1
        keys = tuple(f"kind {kind}, page {page}" for page in range(prompt // PAGE)) if kind else ()
        request = self.pool.reserve(f"r{self.made}", prompt, answer, lease_until=1e9, keys=keys)
        if isinstance(request, PoolRequest):
            self.new.append(request.request_id)

    @rule(data=st.data(), takes_home=st.booleans())
    @precondition(lambda self: any(r.settled for r in self.pool.requests.values()))
    def ask(self, data: st.DataObject, takes_home: bool) -> None:
        request = data.draw(st.sampled_from([r for r in self.pool.requests.values() if r.settled]))
        first = data.draw(st.integers(0, len(request.pages) - 1))
        source = request.pages[first][0]
        count = data.draw(st.integers(0 if request.home == source else 1, len(request.pages) - first))
        target = data.draw(st.sampled_from(RANKS))
        self.made += 1
        move = self.moves.begin(
            MoveAsk(
                move_id=f"m{self.made}",
                fence=0,
                request_id=request.request_id,
                map_version=request.map_version,
                source=source,
                source_incarnation=source + "1",
                target=target,
                target_incarnation=target + "1",
                first_page=first,
                pages=count,
                bytes_per_second=0,
                takes_home=takes_home or count == 0,
                deadline_ms=5_000,
            ),
            self.now,
        )
        assert (move.phase == "refused") == bool(move.reason)

    @rule(closed=st.sampled_from(RANKS))
    def drain(self, closed: str) -> None:
        self.pool.closed = frozenset({closed})
        self.made += 10
        busy = {move.ask.request_id for move in self.moves.copying}
        for ask in plan_emptying(self.pool, busy, self.made, fence=0):
            self.moves.begin(ask, self.now)
        self.pool.closed = frozenset()

    @precondition(lambda self: self.pool.requests)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.finish(data.draw(st.sampled_from(sorted(self.pool.requests))))

    @precondition(lambda self: self.moves.copying and self.made % 4 == 0)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.moves.cancel(data.draw(st.sampled_from(self.moves.copying)).ask.move_id, 0, self.now)

    @precondition(lambda self: self.tickets)
    @rule(data=st.data(), pages=st.integers(1, 8))
    def copy(self, data: st.DataObject, pages: int) -> None:
        """The source's thread sends some pages, maybe of a move that ended meanwhile."""
        ticket = data.draw(st.sampled_from(list(self.tickets.values())))
        source, target = self.rank(ticket.source), self.rank(ticket.target)
        done = self.copied[ticket.move_id]
        full = self.full_pages(ticket)
        for offset in range(done, min(done + pages, full)):
            page = IncomingPage(ticket.first_page + offset, ticket.slots[offset], PAGE)
            # Of a move that ended, the slots may hold something else by now; the target refuses it.
            content = source.content(self.sources[ticket.move_id][offset])
            store = partial(target.store, page.slot, content)
            try:
                target.replica.write_moved(ticket.move_id, range(1), [page], store)
            except Refused:
                assert ticket.move_id not in {move.ask.move_id for move in self.moves.copying} - self.untold
                return
            self.copied[ticket.move_id] = offset + 1

    @rule(count=st.integers(1, 60), fails=st.sampled_from([False] * 9 + [True]))
    def steps(self, count: int, fails: bool) -> None:
        for _ in range(count):
            self.tick(fails)

    def tick(self, fails: bool) -> None:
        """One tick as the coordinator decides it and every member executes it."""
        self.moves.expire(self.now)
        tickets, commits = self.moves.take_tickets(self.now), self.moves.take_commits(self.now)
        tick = Tick(
            "decode",
            ended=tuple(self.ended),
            held=tuple(holding_of(self.pool, r) for r in self.new if r in self.pool.requests),
            tickets=tickets,
            dropped=self.moves.take_dropped(),
            commits=commits,
            rows=rows_of(self.pool, 100),
        )
        self.ended, self.new = [], []
        tick = tick_from_bytes(tick.to_bytes())
        for number, rank in enumerate(self.pool.members):
            self.ranks[rank].replica.apply(tick, number)
        for ticket in tickets:
            self.tickets[ticket.move_id], self.copied[ticket.move_id] = ticket, 0
            replica, count = self.rank(ticket.source).replica, len(ticket.slots)
            self.sources[ticket.move_id] = replica.slots_of(ticket.request_id, ticket.first_page, count)
        for commit in commits:
            self.exchange(self.tickets[commit.move_id], commit.move_id)
            tails = tail_pages(self.tickets[commit.move_id], commit)
            assert sum(tail.tokens for tail in tails) < PAGE
        for rank in self.pool.members:
            self.ranks[rank].replica.switch(commits)
        committing = {commit.move_id for commit in commits}
        for move_id in {move.ask.move_id for move in self.moves.copying} - committing:
            progress = MoveProgress(self.copied[move_id], self.copied[move_id], failed=fails)
            self.moves.note(move_id, progress, self.now)
        self.write_prompts()
        for row in tick.rows:
            table = self.any_replica().table(row.request_id, row.position)
            place = table.tail(row.position)
            self.rank(place.rank).kv[place.slot, row.position % PAGE] = (row.request_id, row.position)
        self.moves.confirm(0.0, self.now)
        for row in tick.rows:
            if self.pool.requests[row.request_id].advance(7):
                self.finish(row.request_id)

    @precondition(lambda self: self.made % 7 == 0)
    @rule(order=st.permutations(RANKS))
    def change_epoch(self, order: tuple[str, ...]) -> None:
        self.epoch += 1
        self.moves.epoch_ended("test", self.now)
        self.pool.start_epoch(self.epoch, members(tuple(order)))
        self.ended, self.new = [], []
        sync = Tick("idle", sync=True, held=tuple(holding_of(self.pool, r) for r in self.pool.requests))
        for number, rank in enumerate(self.pool.members):
            self.ranks[rank].replica.apply(sync, number)
        self.tickets = {}
        self.write_prompts()

    @rule(seconds=st.floats(0, 3))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def no_page_is_lost_or_held_twice(self) -> None:
        self.pool.check_integrity()

    @invariant()
    def every_token_is_where_the_map_says(self) -> None:
        for request in self.pool.requests.values():
            if request.settled:
                for position in range(request.position):
                    rank, slot = request.pages[position // PAGE]
                    assert self.ranks[rank].kv[slot, position % PAGE] == token_of(request, position)

    @property
    def untold(self) -> set[str]:
        return {move.ask.move_id for move in self.moves.copying if move.ask.move_id not in self.tickets}

    def rank(self, number: int) -> MemberRank:
        return self.ranks[list(self.pool.members)[number]]

    def any_replica(self) -> Replica:
        return self.ranks[next(iter(self.pool.members))].replica

    def full_pages(self, ticket: MoveTicket) -> int:
        request = self.pool.requests.get(ticket.request_id)
        position = 0 if request is None else request.position
        return min(len(ticket.slots), max(0, position // PAGE - ticket.first_page))

    def exchange(self, ticket: MoveTicket, move_id: str) -> None:
        request = self.pool.requests[ticket.request_id]
        source, target = self.rank(ticket.source), self.rank(ticket.target)
        slots = source.replica.slots_of(ticket.request_id, ticket.first_page, len(ticket.slots))
        for offset in range(self.moves_copied(move_id), len(ticket.slots)):
            tokens = min(PAGE, request.position - (ticket.first_page + offset) * PAGE)
            if tokens > 0:
                target.store(ticket.slots[offset], source.page(slots[offset], tokens))

    def moves_copied(self, move_id: str) -> int:
        return next(move.copied_pages for move in self.moves.moves if move.ask.move_id == move_id)

    def write_prompts(self) -> None:
        """Prefills push into what every member knows; then the decode begins."""
        for request in self.pool.requests.values():
            if request.phase == "reserved" and request.request_id not in self.new:
                for position in range(request.shared_pages * PAGE, request.prompt_tokens):
                    rank, slot = request.pages[position // PAGE]
                    self.ranks[rank].kv[slot, position % PAGE] = token_of(request, position)
                request.begin(DecodeOrder(5, request.max_new_tokens, shareable=True))
                self.pool.settle(request.request_id)

    def finish(self, request_id: str) -> None:
        self.moves.request_ended(request_id, self.now)
        self.pool.end(request_id)
        self.ended.append(request_id)


MovingPool.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestMovingPool = MovingPool.TestCase


def settled_pool() -> tuple[PoolBook, MoveBook, MoveAsk]:
    """A request with pages on all ranks, and a move of its first page from a to c."""
    pool = PoolBook()
    pool.start_epoch(1, members())
    request = pool.reserve("r", 400, 40, 10.0)
    assert isinstance(request, PoolRequest)
    request.begin(DecodeOrder(5, 40))
    request.checked = True
    ask = MoveAsk(
        move_id="m",
        fence=3,
        request_id="r",
        map_version=1,
        source=request.pages[0][0],
        source_incarnation=request.pages[0][0] + "1",
        target="c",
        target_incarnation="c1",
        first_page=0,
        pages=1,
        bytes_per_second=0,
        takes_home=False,
        deadline_ms=1000,
    )
    return pool, MoveBook(pool, 10), ask


def commit(moves: MoveBook, move: Move) -> None:
    moves.take_tickets(0.0)
    moves.note(move.ask.move_id, MoveProgress(move.ask.pages, 10 * move.ask.pages, failed=False), 0.0)
    assert [one.move_id for one in moves.take_commits(0.0)] == [move.ask.move_id]
    moves.confirm(0.25, 0.5)


def test_a_committed_move_changes_the_map_and_frees_the_source_only_then() -> None:
    pool, moves, ask = settled_pool()
    before = pool.free_of(ask.source)
    move = moves.begin(ask, 0.0)
    assert (move.phase, pool.free_of("c"), pool.free_of(ask.source)) == ("copying", PAGES - 1 - 2, before)
    commit(moves, move)
    assert (move.phase, move.map_version, move.stall_seconds) == ("committed", 2, 0.25)
    assert pool.requests["r"].pages[0][0] == "c"
    assert pool.free_of(ask.source) == before + 1
    assert moves.begin(ask, 0.9) is move


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"map_version": 4}, "mapVersion: r is at version 1, not 4"),
        ({"request_id": "x"}, "requestId: x holds no pages in this pool"),
        ({"target_incarnation": "c9"}, "to: c of incarnation c9 is not in the pool"),
        ({"target": "a", "target_incarnation": "a1"}, "to: a is also the source"),
        ({"first_page": 5, "pages": 9}, "firstPage, pages: r has 7 pages"),
        ({"pages": 7}, "from: b holds some of these pages"),
        ({"first_page": 1, "pages": 0}, "pages: 0 pages move nothing but a home, and a is not the home"),
    ],
)
def test_a_move_that_cannot_be_is_refused_with_a_sentence(change: dict[str, object], reason: str) -> None:
    pool, moves, ask = settled_pool()
    assert (ask.source, pool.requests["r"].home) == ("a", "a")
    asked = replace(ask, **change)
    move = moves.begin(asked, 0.0)
    assert (move.phase, move.reason) == ("refused", reason)
    pool.check_integrity()


def test_a_move_to_a_full_rank_is_refused_with_numbers() -> None:
    pool, moves, ask = settled_pool()
    pool.ledger.lease("other", "c", pool.free_of("c"))
    assert moves.begin(ask, 0.0).reason == "pages: 1 are needed, c has 0"


def test_a_lower_fence_is_refused_and_an_unknown_move_cannot_be_cancelled() -> None:
    _, moves, ask = settled_pool()
    moves.begin(ask, 0.0)
    for late in (lambda: moves.begin(replace(ask, fence=2), 0.0), lambda: moves.cancel("m", 2, 0.0)):
        with pytest.raises(Refused, match="stale_fence"):
            late()
    with pytest.raises(Refused, match="unknown_request"):
        moves.cancel("never", 3, 0.0)
    assert moves.cancel("m", 3, 0.0).phase == "cancelled"
    assert moves.cancel("m", 3, 0.0).phase == "cancelled"


def test_a_late_move_and_one_of_an_ended_request_give_the_lease_back() -> None:
    pool, moves, ask = settled_pool()
    late = moves.begin(ask, 0.0)
    moves.expire(1.0)
    assert (late.phase, late.reason) == ("failed", "it took longer than 1000 ms")
    other = moves.begin(replace(ask, move_id="n"), 1.0)
    moves.request_ended("r", 1.0)
    assert (other.phase, other.reason) == ("failed", "request r ended")
    pool.end("r")
    assert pool.pages_free == 3 * PAGES


def test_of_two_moves_on_one_map_only_the_first_commits() -> None:
    _, moves, ask = settled_pool()
    first = moves.begin(ask, 0.0)
    second = moves.begin(replace(ask, move_id="n", target="b", target_incarnation="b1"), 0.0)
    commit(moves, first)
    moves.note("n", MoveProgress(1, 10, failed=False), 0.5)
    assert moves.take_commits(0.5) == ()
    assert second.reason == "mapVersion: r is at version 2, not 1"


def test_a_leaving_rank_is_emptied_onto_the_others_by_their_free_pages() -> None:
    pool, moves, _ = settled_pool()
    pool.closed = frozenset({"a"})
    pool.ledger.lease("other", "b", 10)
    rounds = 0
    while not pool.is_empty("a"):
        rounds += 1
        asks = plan_emptying(pool, set(), rounds, fence=3)
        assert asks
        for ask in asks:
            assert (ask.source, ask.target) == ("a", "c")
            commit(moves, moves.begin(ask, 0.0))
    assert pool.emptied() == {"a"}
    assert pool.requests["r"].home == "c"
    assert pages_for(440) == len(pool.requests["r"].pages)


def test_nothing_is_moved_while_no_other_rank_has_room() -> None:
    pool, _, _ = settled_pool()
    pool.closed = frozenset(RANKS)
    assert plan_emptying(pool, set(), 1, fence=0) == []
