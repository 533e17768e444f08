"""What a pool's coordinator knows of pages, requests and moves, as the wire's inventory."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from csps_engine.core.kvshape import KvShape
from csps_engine.core.plan import PAGE_TOKENS
from csps_engine.loop.epoch_work import Epoch
from csps_engine.loop.load_meter import LoadMeter
from csps_engine.scheduler.move import Move
from csps_engine.scheduler.move_book import MoveBook
from csps_engine.scheduler.pool_book import PoolBook
from csps_engine.scheduler.request import PoolRequest, pages_for
from csps_engine.scheduler.scan import scanned_tokens
from csps_engine.wire.generated import InventoryRank, InventoryRequest, MoveState, PageShard, PoolInventory


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """All that an inventory is made of. `joined` is when each rank joined, by rankId."""

    epoch: Epoch
    shape: KvShape
    book: PoolBook
    moves: MoveBook
    meter: LoadMeter
    joined: dict[str, float]


def describe_pool(facts: PoolFacts, now: float) -> PoolInventory:
    book, page_bytes = facts.book, facts.shape.rank_page_bytes()
    scanned = scanned_tokens(book)
    ranks = [
        InventoryRank(
            rank_id=member.rank_id,
            incarnation=member.incarnation,
            pages_total=member.pages,
            pages_free=book.free_of(member.rank_id),
            scan_bytes_per_step=scanned[member.rank_id] * page_bytes // PAGE_TOKENS,
            age_ms=int(1000 * (now - facts.joined[member.rank_id])),
            draining=member.rank_id in book.closed,
            keyed_pages=book.ledger.keyed_of(member.rank_id),
        )
        for member in book.members.values()
    ]
    return PoolInventory(
        group=facts.epoch.proposal.group,
        epoch=facts.epoch.number,
        coordinator=facts.epoch.proposal.coordinator,
        page_tokens=PAGE_TOKENS,
        page_bytes=page_bytes,
        step_ms=1000 * facts.meter.step_seconds,
        scan_bytes_per_second=facts.meter.scan_bytes_per_second,
        ranks=ranks,
        requests=[_request(request) for request in book.requests.values()],
        moves=[describe_move(move, now) for move in facts.moves.moves],
    )


def describe_move(move: Move, now: float) -> MoveState:
    ask = move.ask
    return MoveState(
        move_id=ask.move_id,
        request_id=ask.request_id,
        from_=ask.source,
        to=ask.target,
        first_page=ask.first_page,
        pages=ask.pages,
        takes_home=ask.takes_home,
        bytes_per_second=ask.bytes_per_second,
        phase=move.phase,
        reason=move.reason,
        map_version=move.map_version,
        copied_bytes=move.copied_bytes,
        total_bytes=max(move.total_bytes, move.copied_bytes),
        age_ms=int(1000 * (now - move.began_at)),
        stall_ms=1000 * move.stall_seconds,
    )


def _request(request: PoolRequest) -> InventoryRequest:
    order = request.order
    wanted = request.max_new_tokens if order is None else order.max_new_tokens
    return InventoryRequest(
        request_id=request.request_id,
        home=request.home,
        map_version=request.map_version,
        prompt_tokens=request.prompt_tokens,
        written_pages=pages_for(request.written_tokens),
        remaining_tokens=max(0, wanted - request.produced),
        decoding=request.phase == "decoding",
        settled=request.settled,
        shards=_shards(request),
    )


def _shards(request: PoolRequest) -> list[PageShard]:
    shards: list[PageShard] = []
    first = 0
    for rank, group in groupby(request.pages, key=lambda page: page[0]):
        pages = len(list(group))
        shards.append(PageShard(rank_id=rank, first_page=first, pages=pages))
        first += pages
    return shards
