"""How busy a pool is: counters of this member and, on the coordinator, what its steps took and what waits."""

from __future__ import annotations

from collections.abc import Sequence

from csps_engine.core.plan import DecodeRow
from csps_engine.kv.pool import KvPool
from csps_engine.loop.epoch_work import Load
from csps_engine.loop.load_meter import DecodeStep, LoadMeter, Queued
from csps_engine.loop.pool_reporter import PoolReporter
from csps_engine.loop.pool_requests import PoolRequests
from csps_engine.scheduler.replica import Replica
from csps_engine.scheduler.scan import scanned_tokens


class PoolLoad:
    """Used on the engine thread; `counters` may be read from any other."""

    def __init__(self, pool: KvPool, replica: Replica, requests: PoolRequests, reporter: PoolReporter) -> None:
        self._pool = pool
        self._replica = replica
        self._requests = requests
        self._reporter = reporter
        self.meter = LoadMeter()
        self.counters = Load(pages_total=pool.slots, pages_free=pool.slots)

    def stepped(self, rows: Sequence[DecodeRow], seconds: float, now: float) -> None:
        """Coordinator: a step of these rows is over, and its tokens are not handed out yet."""
        self.meter.stepped(seconds, now)
        if self.meter.wants_sample(now):
            self.meter.sampled(self._sample(rows, seconds), now)

    def count(self, coordinates: bool) -> None:
        """Look at what is held and what waits, and tell it."""
        book, line = self._requests.book, self._requests.reservations
        reserved = [request for request in book.requests.values() if request.phase == "reserved"]
        running, waiting = len(book.requests) - len(reserved), len(reserved) + line.waiting
        held, slots = self._replica.held_pages, self._pool.slots
        self._reporter.load(running, waiting, held / max(1, slots))
        self._reporter.kept(book.ledger)
        waiting_tokens = sum(request.prompt_tokens for request in reserved) + line.waiting_prompt_tokens
        self.meter.queued = Queued(waiting_tokens, line.oldest)
        self.counters = Load(
            pages_total=slots,
            pages_free=slots - held,
            pool_pages_total=book.pages_total if coordinates else 0,
            pool_pages_free=book.pages_free if coordinates else 0,
            running=running,
            waiting=waiting,
            held_pages=held,
            homes=self._replica.homes,
            emptied=book.emptied() if coordinates else frozenset(),
            closed=self._replica.closed,
        )

    def _sample(self, rows: Sequence[DecodeRow], seconds: float) -> DecodeStep:
        shape, book = self._pool.shape, self._requests.book
        return DecodeStep(
            rows=len(rows),
            context_tokens=sum(row.position for row in rows),
            ranks=len(book.members),
            scan_bytes=max(scanned_tokens(book).values()) * shape.rank_page_bytes() // shape.page_tokens,
            seconds=seconds,
        )
