"""Moves of KV pages between ranks of a pool, and the inventory that they are planned on."""

from __future__ import annotations

from aiohttp import web

from csps_engine.loop.pool_work import PoolWork
from csps_engine.refusal import refuse
from csps_engine.scheduler.move import MoveAsk
from csps_engine.server.http import parse, reply
from csps_engine.server.rank import Rank
from csps_engine.wire.generated import MoveCancel, MoveOrder


class MovingHandlers:
    def __init__(self, rank: Rank) -> None:
        self._rank = rank

    def routes(self) -> list[web.RouteDef]:
        if self._rank.config.role == "prefill":
            return []
        return [
            web.get("/v1/inventory", self.inventory),
            web.post("/v1/move", self.move),
            web.post("/v1/move/cancel", self.cancel),
        ]

    async def inventory(self, _: web.Request) -> web.Response:
        return reply(await self._rank.call(self._pool_work().inventory))

    async def move(self, request: web.Request) -> web.Response:
        asked = await parse(request, MoveOrder)
        work, ask = self._pool_work(), _ask(asked)
        self._check_fence(asked.fence)
        return reply(await self._rank.call(lambda: work.move(ask)))

    async def cancel(self, request: web.Request) -> web.Response:
        asked = await parse(request, MoveCancel)
        work = self._pool_work()
        self._check_fence(asked.fence)
        return reply(await self._rank.call(lambda: work.cancel_move(asked.move_id, asked.fence)))

    def _pool_work(self) -> PoolWork:
        self._rank.require_coordinator()
        if self._rank.pool_work is None:
            raise refuse("not_ready", "the model is being loaded", 1000)
        return self._rank.pool_work

    def _check_fence(self, fence: int) -> None:
        """Whoever leads now has told its fence with the roster, if not with a move."""
        held, _ = self._rank.book.order
        if fence < held:
            raise refuse("stale_fence", f"fence: {fence} is lower than the roster's, {held}")


def _ask(order: MoveOrder) -> MoveAsk:
    return MoveAsk(
        move_id=order.move_id,
        fence=order.fence,
        request_id=order.request_id,
        map_version=order.map_version,
        source=order.from_,
        source_incarnation=order.from_incarnation,
        target=order.to,
        target_incarnation=order.to_incarnation,
        first_page=order.first_page,
        pages=order.pages,
        bytes_per_second=order.bytes_per_second,
        takes_home=order.takes_home,
        deadline_ms=order.deadline_ms,
    )
