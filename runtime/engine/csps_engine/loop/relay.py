"""Streams of a coordinator that left its pool: it hands on what the next one says, until they end.

The client's connection still leads here. The next coordinator took the requests over and goes on with them; this rank
follows their streams there as a gateway would, so the client notices nothing but a pause.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from csps_engine.loop.event_board import EventBoard
from csps_engine.loop.peers import Peers
from csps_engine.loop.reports import error_event
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
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def busy(self) -> bool:
        return bool(self._tasks)

    def start(self, requests: Sequence[PoolRequest]) -> None:
        """Follow these requests wherever they go on."""
        for request in requests:
            task = asyncio.get_running_loop().create_task(self._relay(request))
            self._tasks[request.request_id] = task
            task.add_done_callback(partial(self._forget, request.request_id))

    def cancel(self, request_id: str) -> None:
        """Nobody reads this stream any more."""
        task = self._tasks.get(request_id)
        if task is not None:
            task.cancel()

    def _forget(self, request_id: str, _: asyncio.Task[None]) -> None:
        self._tasks.pop(request_id, None)

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

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
