"""What a pool's coordinator does to requests: from a wish for pages to the last token, or to what ends them before.

Whatever is done to one is done in the book, in the line for pages and to its moves alike, and is told. Members learn
of it with the next tick.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from csps_engine.core.plan import DecodeRow, StepResult
from csps_engine.loop.pool_moves import PoolMoves
from csps_engine.loop.pool_reporter import PoolReporter
from csps_engine.loop.reservations import Reservations, Wish
from csps_engine.refusal import refuse
from csps_engine.scheduler.handover import Document, read_handover, write_handover
from csps_engine.scheduler.pool_book import PoolBook, PoolMember
from csps_engine.scheduler.request import DecodeOrder, PoolRequest
from csps_engine.wire.generated import FailureCode


class PoolRequests:
    """The engine thread of the coordinator owns it; on other members it holds nothing."""

    def __init__(self, page_bytes: int, reporter: PoolReporter) -> None:
        self._reporter = reporter
        self.book = PoolBook()
        self.moves = PoolMoves(self.book, page_bytes, reporter.metrics)
        self.reservations = Reservations(self.book)
        self._ended: list[str] = []

    def reserve(self, wish: Wish) -> Future[PoolRequest]:
        """Resolves once every member knows the reservation; raises Refused. While pages lack, it waits in line."""
        if not self.book.open_ranks:
            raise refuse("draining", "every rank of this pool is leaving", 1000)
        known = self.book.requests.get(wish.request_id)
        if known is not None and (known.prompt_tokens, known.max_new_tokens) != wish.lengths:
            if known.phase == "decoding":
                raise refuse("bad_request", f"requestId: {wish.request_id} is being decoded with other lengths")
            self._drop(wish.request_id)
        future = self.reservations.ask(wish, time.monotonic())
        self._tell_reserved()
        return future

    def begin(self, request_id: str, prompt_tokens: int, order: DecodeOrder) -> None:
        """Start decoding a reservation; raises Refused."""
        request = self.book.requests.get(request_id)
        if request is None or request.phase == "decoding":
            raise refuse("unknown_request", f"requestId: {request_id} holds no reservation in this pool")
        if prompt_tokens != request.prompt_tokens:
            raise refuse("bad_request", f"promptTokens: {request.prompt_tokens} were reserved, not {prompt_tokens}")
        if order.max_new_tokens > request.max_new_tokens:
            raise refuse("bad_request", f"maxNewTokens: only {request.max_new_tokens} were reserved")
        reason = self.book.begin(request_id, order)
        if reason is not None:
            self._finish(request, reason)

    def cancel(self, request_id: str) -> bool:
        """Free a request's pages; its stream, if any, ends as cancelled. False: it held none."""
        self.reservations.cancel(request_id)
        request = self.book.requests.get(request_id)
        if request is not None:
            self._finish(request, "cancelled")
        return request is not None

    def serve(self, now: float) -> None:
        """Free reservations that nobody came for in time, and give pages to those in line."""
        for request_id in self.book.expired(now):
            self._drop(request_id)
        self.reservations.serve(now)
        self._tell_reserved()

    def check_complete(self, missing: Mapping[str, int]) -> None:
        """Decode those whose prompt has all its KV: `missing` pages did not arrive at their holders, by request."""
        for request_id, pages in missing.items():
            if request_id not in self.book.requests:
                continue
            if pages:
                self._reporter.failed(request_id, "lost_pages", f"{pages} pages of the prompt's KV did not arrive")
                self._drop(request_id)
            else:
                self.book.settle(request_id)

    def advance(self, rows: Sequence[DecodeRow], result: StepResult) -> None:
        """Hand out the step's tokens."""
        for row in rows:
            request = self.book.requests.get(row.request_id)
            if request is None:
                continue
            token = result.sampled[row.request_id]
            reason = request.advance(token.token_id)
            self._reporter.token(request, token, row.sampling)
            if row.request_id in result.chosen:
                self._reporter.chosen(row.request_id, result.chosen[row.request_id])
            if reason is not None:
                self._finish(request, reason)

    def confirm_moves(self, stall_seconds: float) -> None:
        """Every member switched: what comes now may use the new maps, and the old slots are free."""
        for request in self.moves.confirm(stall_seconds, time.monotonic()):
            self._reporter.held(request)

    def take_ended(self) -> tuple[str, ...]:
        """Requests whose pages are free, which no tick has told yet."""
        ended, self._ended = self._ended, []
        return tuple(ended)

    def start_epoch(self, epoch: int, members: Sequence[PoolMember]) -> None:
        """Go on with whatever lost no page."""
        self._ended = []
        gone = refuse("epoch_broken", "a rank that should hold the pages is gone", 500)
        for request_id in self.book.start_epoch(epoch, members):
            self.reservations.forget(request_id, gone)
            self._reporter.failed(request_id, "lost_pages", "a rank that held KV of this request is gone")
            self._reporter.freed(request_id)

    def abandon(self, code: FailureCode, message: str) -> None:
        """End everything, as failed."""
        self.reservations.give_up(refuse(code, message, 500))
        for request_id in list(self.book.requests):
            self._reporter.failed(request_id, code, message)
            self._reporter.freed(request_id)
        self.book.restore(0, (), ())

    def farewell(self, epoch: int) -> Document:
        """The book for another coordinator. What nobody was told yet is not handed over: it is asked for again."""
        for request_id in self.reservations.give_up(refuse("not_ready", "the coordinator leaves the pool", 500)):
            self._drop(request_id)
        self._ended = []
        return write_handover(self.book, epoch, time.monotonic())

    def hand_over(self) -> list[PoolRequest]:
        """Every member has the book: nothing is held here any more. Returns what is being decoded."""
        decoding = [r for r in self.book.requests.values() if r.phase == "decoding"]
        for request in decoding:
            self._reporter.handed_over(request.request_id)
        self.book.restore(0, (), ())
        return decoding

    def take_over(self, document: Document, now: float) -> None:
        """Go on with another coordinator's book; a start_epoch follows."""
        handed = read_handover(document, now)
        self.book.restore(handed.epoch, handed.members, handed.requests, handed.keyed)
        for request in handed.requests:
            self._reporter.taken_over(request)

    def _finish(self, request: PoolRequest, reason: str) -> None:
        self._reporter.done(request, reason)
        self._drop(request.request_id)

    def _drop(self, request_id: str) -> None:
        """Free the pages here now, and on every member with the next tick."""
        self.moves.book.request_ended(request_id, time.monotonic())
        ended = refuse("unknown_request", f"requestId: {request_id} ended before all ranks knew its pages")
        self.reservations.forget(request_id, ended)
        if self.book.end(request_id):
            self._ended.append(request_id)
            self._reporter.freed(request_id)
            if not self.book.requests:
                self.book.check_integrity()

    def _tell_reserved(self) -> None:
        for request in self.reservations.take_granted():
            self._reporter.held(request)
            self._reporter.reused(request)
