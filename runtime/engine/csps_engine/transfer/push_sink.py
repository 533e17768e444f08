"""Takes a prompt's KV from the prefill pipeline and pushes each page to the decode rank that reserved it."""

from __future__ import annotations

import time

from torch import Tensor

from csps_engine.core.kvshape import KvShape
from csps_engine.core.plan import PAGE_TOKENS
from csps_engine.refusal import Refused, refuse
from csps_engine.scheduler.replica import IncomingPage
from csps_engine.transfer.errand import Errand
from csps_engine.transfer.link import Link, Outgoing
from csps_engine.transfer.prefix_pull import PrefixPull
from csps_engine.transfer.transport import Access
from csps_engine.wire.generated import Failure, RankRef, Reservation


class PushSink:
    """A KvSink for one prompt on one prefill rank; links open when their first page comes."""

    def __init__(
        self,
        reservation: Reservation,
        shape: KvShape,
        access: Access,
        deadline: float,
        beginning: PrefixPull | None = None,
    ) -> None:
        """`beginning`: what the KV that comes here is computed from; without it nothing more is pushed."""
        self._reservation = reservation
        self._shape = shape
        self._access = access
        self._deadline = deadline
        self._places = {place.page: (place.rank_id, place.slot) for place in reservation.pages}
        self._first = PAGE_TOKENS * (reservation.shared_pages or 0)
        """Of what is before, the pool has the KV already."""
        self._holders = {holder.rank_id: holder for holder in reservation.holders}
        self._links: dict[str, Link] = {}
        self._finished = False
        self._beginning = beginning

    def write(self, layer: int, first_token: int, k: Tensor, v: Tensor) -> None:
        """See KvSink. Pages go to their holders in one frame each per call."""
        if self._beginning is not None and self._beginning.failure is not None:
            return
        frames: dict[str, list[tuple[IncomingPage, Tensor, Tensor]]] = {}
        for start in range(0, k.shape[1], PAGE_TOKENS):
            if first_token + start < self._first:
                continue
            page = (first_token + start) // PAGE_TOKENS
            part = slice(start, min(start + PAGE_TOKENS, k.shape[1]))
            rank_id, slot = self._places[page]
            incoming = IncomingPage(page, slot, part.stop - part.start)
            frames.setdefault(rank_id, []).append((incoming, k[:, part], v[:, part]))
        for rank_id, parts in frames.items():
            pages, keys, values = zip(*parts, strict=True)
            self._link(self._holders[rank_id]).submit(Outgoing(layer, pages, (*keys, *values)))

    def finish(self) -> None:
        """Say that the prompt's KV is all written."""
        if not self._finished:
            self._finished = True
            if self._beginning is not None:
                self._beginning.close()
            for link in self._links.values():
                link.finish()

    def poll(self, seconds: float) -> bool:
        """Whether everything is acknowledged or failed after at most `seconds`."""
        until = time.monotonic() + seconds
        return all(link.wait(until - time.monotonic()) for link in self._links.values())

    def flush(self) -> None:
        """See KvSink: wait for all acknowledgements; raises Refused when one did not come."""
        self.finish()
        acknowledged = self.poll(self._deadline - time.monotonic())
        if self.failure is not None:
            raise Refused(self.failure)
        if not acknowledged:
            raise refuse("deadline_exceeded", "not all KV was acknowledged in time")

    @property
    def failure(self) -> Failure | None:
        if self._beginning is not None and self._beginning.failure is not None:
            return self._beginning.failure
        return next((link.failure for link in self._links.values() if link.failure), None)

    @property
    def acknowledged_bytes(self) -> int:
        return sum(link.acknowledged_bytes for link in self._links.values())

    def _link(self, holder: RankRef) -> Link:
        link = self._links.get(holder.rank_id)
        if link is None:
            errand = Errand(
                request_id=self._reservation.request_id,
                version=self._reservation.epoch,
                holder=holder,
                token=self._access.token,
                shape=self._shape,
                deadline=self._deadline,
            )
            link = self._links[holder.rank_id] = Link(errand, self._access.transport)
        return link
