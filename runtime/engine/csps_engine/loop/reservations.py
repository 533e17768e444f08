"""Reservations on their way: those that wait for pages in line, and those that not every member knows yet."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from csps_engine.refusal import Refused, refuse
from csps_engine.scheduler.page_queue import Asker, PageQueue, Waiting
from csps_engine.scheduler.pool_book import NoPages, PoolBook
from csps_engine.scheduler.request import PoolRequest, pages_for
from csps_engine.wire.generated import Failure

Confirmed: TypeAlias = "Future[PoolRequest]"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of a pool."""

    request_id: str
    lengths: tuple[int, int]
    """Tokens of the prompt, and of the longest answer."""
    lease_ms: int
    wait_ms: int = 0
    """How long it may stand in line for pages."""
    keys: tuple[str, ...] = ()
    """Of the prompt's full pages, in order; empty when its pages are not to be shared."""


class Reservations:
    """The engine thread of the coordinator owns it. Times are time.monotonic()."""

    def __init__(self, book: PoolBook) -> None:
        self._book = book
        self._line: PageQueue[Confirmed] = PageQueue()
        self._new: list[str] = []
        self._granted: list[PoolRequest] = []
        self._unconfirmed: list[tuple[Confirmed, PoolRequest]] = []

    @property
    def unconfirmed(self) -> bool:
        return bool(self._unconfirmed)

    @property
    def waiting(self) -> int:
        return len(self._line)

    @property
    def waiting_prompt_tokens(self) -> int:
        return self._line.prompt_tokens

    @property
    def oldest(self) -> float | None:
        """Since when the first in line waits."""
        return self._line.first.since if self._line.first is not None else None

    def ask(self, wish: Wish, now: float) -> Confirmed:
        """Reserve now if nobody waits before; else wait in line, or raise Refused.

        Who asks for the same again waits in the same place, and both get the same answer. The same id with other
        lengths is another wish, instead of the one before.
        """
        future: Confirmed = Future()
        request_id, until = wish.request_id, now + wish.wait_ms / 1000
        asked = Waiting(request_id, *wish.lengths, wish.lease_ms, now, (Asker(until, future),), wish.keys)
        waits = self._line.find(request_id)
        if waits is not None and (waits.prompt_tokens, waits.max_new_tokens) == wish.lengths:
            self._line.add(waits.joined(asked))
            return future
        if waits is not None:
            self._line.remove(request_id)
            _answer_all(waits, refuse("unknown_request", f"requestId: {request_id} was asked for with other lengths"))
        if self._line.first is not None and request_id not in self._book.requests:
            self._wait(asked, self._lack(asked))
        else:
            lack = self._grant(asked, now)
            if lack is not None:
                self._wait(asked, lack)
        return future

    def serve(self, now: float) -> None:
        """Give pages to those in line, in order; refuse those that waited long enough."""
        while (first := self._line.first) is not None:
            # Whoever went away while waiting gets nothing.
            wanted = not all(asker.whom.cancelled() for asker in first.askers)
            if wanted and self._grant(first, now) is not None:
                break
            self._line.remove(first.request_id)
        for late in self._line.take_late(now):
            _answer_all(late, _no_pages(self._lack(late), "waited for them in line"))

    def take_new(self) -> list[str]:
        """Requests that no tick has told yet."""
        new, self._new = self._new, []
        return new

    def take_granted(self) -> list[PoolRequest]:
        """Requests that got pages since the last call."""
        granted, self._granted = self._granted, []
        return granted

    @contextmanager
    def confirming(self) -> Iterator[None]:
        """Around a tick: what was granted before it is confirmed after it, unless it fails."""
        told = self._unconfirmed
        self._unconfirmed = []
        try:
            yield
        except BaseException:
            self._unconfirmed = told + self._unconfirmed
            raise
        for future, request in told:
            _answer(future, request)

    def forget(self, request_id: str, refused: Refused) -> None:
        """It holds its pages no more; whoever was not told yet that it does gets `refused`."""
        for future, request in self._unconfirmed:
            if request.request_id == request_id:
                _answer(future, refused)
        self._unconfirmed = [(f, r) for f, r in self._unconfirmed if r.request_id != request_id]
        self._new = [one for one in self._new if one != request_id]

    def cancel(self, request_id: str) -> None:
        """Whoever waits for this one in line is told that it is no more."""
        waiting = self._line.remove(request_id)
        if waiting is not None:
            _answer_all(waiting, refuse("unknown_request", f"requestId: {request_id} was cancelled"))

    def give_up(self, refused: Refused) -> list[str]:
        """Refuse all that waits or is unconfirmed; returns the requests that hold pages nobody was told of."""
        for waiting in self._line.take_all():
            _answer_all(waiting, refused)
        untold, self._unconfirmed, self._new = self._unconfirmed, [], []
        for future, _ in untold:
            _answer(future, refused)
        return [request.request_id for _, request in untold]

    def next_deadline(self) -> float | None:
        return self._line.next_deadline()

    def _grant(self, asked: Waiting[Confirmed], now: float) -> NoPages | None:
        """Why it can't be granted; None when it was."""
        known = self._book.requests.get(asked.request_id)
        lease_until = now + asked.lease_ms / 1000
        lengths = (asked.prompt_tokens, asked.max_new_tokens)
        answer = self._book.reserve(asked.request_id, *lengths, lease_until, asked.keys)
        if isinstance(answer, NoPages):
            return answer
        if answer is not known:
            self._new.append(asked.request_id)
            self._granted.append(answer)
        self._unconfirmed += [(asker.whom, answer) for asker in asked.askers]
        return None

    def _wait(self, asked: Waiting[Confirmed], lack: NoPages) -> None:
        """Stand in line, or raise Refused."""
        needed = pages_for(asked.prompt_tokens + asked.max_new_tokens)
        if needed > self._book.open_pages:
            raise _no_pages(lack, f"the pool has {self._book.open_pages} in all")
        if all(asker.until <= asked.since for asker in asked.askers):
            raise _no_pages(lack, f"{len(self._line)} requests wait for pages")
        if self._line.full:
            raise _no_pages(lack, f"{len(self._line)} requests wait for pages, and no more may")
        self._line.add(asked)

    def _lack(self, asked: Waiting[Confirmed]) -> NoPages:
        free = sum(self._book.free_by_rank().values())
        needed = pages_for(asked.prompt_tokens + asked.max_new_tokens)
        return NoPages(missing=max(0, needed - free), free=free)


def _no_pages(lack: NoPages, why: str) -> Refused:
    return Refused(
        Failure(
            code="out_of_pages",
            message=f"{lack.missing} KV pages are missing, {lack.free} are free; {why}",
            missing_pages=lack.missing,
            free_pages=lack.free,
            retry_after_ms=500,
        )
    )


def _answer_all(waiting: Waiting[Confirmed], refused: Refused) -> None:
    for asker in waiting.askers:
        _answer(asker.whom, refused)


def _answer(future: Confirmed, outcome: PoolRequest | Refused) -> None:
    """A client that went away has cancelled its future."""
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(outcome, Refused):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
