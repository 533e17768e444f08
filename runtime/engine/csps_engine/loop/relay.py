"""Streams of a coordinator that left its pool: it hands on what the next one says, until they end.

The client's connection still leads here. The next coordinator took the requests over and goes on with them; this rank
follows their streams there as a gateway would, so the client notices nothing but a pause.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from csps_engine.loop.event_board import EventBoard
from csps_engine.loop.peers import Peers
from csps_engine.loop.reports import error_event
from csps_engine.loop.request_tasks import RequestTasks
from csps_engine.refusal import Refused
from csps_engine.scheduler.request import PoolRequest
from csps_engine.wire.generated import DecodeRequest, RankRef, Sampling

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.1
LOOK_SECONDS = 15.0
"""How long a request may be unknown to whoever coordinates; then its stream ends."""

FindCoordinator = Callable[[], Awaitable[RankRef | None]]


class Relay:
    """Lives on the event loop."""

    def __init__(self, board: EventBoard, peers: Peers, find: FindCoordinator) -> None:
        self._board = board
        self._peers = peers
        self._find = find
        self._tasks = RequestTasks()

    @property
    def busy(self) -> bool:
        return self._tasks.busy

    def start(self, requests: Sequence[PoolRequest]) -> None:
        """Follow these requests wherever they go on."""
        for request in requests:
            self._tasks.start(request.request_id, self._relay(request))

    def cancel(self, request_id: str) -> None:
        """Nobody reads this stream any more."""
        task = self._tasks.of(request_id)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        await self._tasks.close()

    async def _relay(self, request: PoolRequest) -> None:
        try:
            await self._follow(request)
        finally:
            # A no-op after a proper end; else the gateway is told to go on elsewhere.
            broken = error_event("epoch_broken", "the pool's coordinator left and its stream was lost")
            self._board.relay(request.request_id, broken.to_json() + b"\n")

    async def _follow(self, request: PoolRequest) -> None:
        message, until = decode_request(request), time.monotonic() + LOOK_SECONDS
        relayed = 0
        while not relayed and time.monotonic() < until:
            coordinator = await self._find()
            try:
                if coordinator is not None:
                    async for line in self._peers.follow(coordinator, message):
                        relayed += 1
                        if not self._board.relay(request.request_id, line):
                            return
            except Refused as refused:
                log.info("%s is not followed yet: %s", request.request_id, refused)
            await asyncio.sleep(RETRY_SECONDS)


def decode_request(request: PoolRequest) -> DecodeRequest:
    """The message that its decode began with."""
    order = request.order
    assert order is not None
    s = order.sampling
    return DecodeRequest(
        request_id=request.request_id,
        prompt_tokens=request.prompt_tokens,
        first_token=order.first_token,
        sampling=Sampling(
            temperature=s.temperature,
            top_p=s.top_p,
            seed=s.seed,
            logprobs=s.logprobs,
            want_logprobs=s.want_logprobs,
        ),
        max_new_tokens=order.max_new_tokens,
        stop_token_ids=sorted(order.stop_token_ids),
        shareable=order.shareable or None,
    )
