"""Health, state, model, roster, epoch, drain."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from csps_engine.loop.agent import MembershipAgent
from csps_engine.membership.election import can_join
from csps_engine.refusal import refuse
from csps_engine.server.http import parse, reply
from csps_engine.server.rank import Rank
from csps_engine.wire.generated import EpochProposal, Roster


class ControlHandlers:
    def __init__(self, rank: Rank, on_drain: Callable[[], None]) -> None:
        self._rank = rank
        self._on_drain = on_drain

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/healthz", self.health),
            web.get("/readyz", self.ready),
            web.get("/metrics", self.metrics),
            web.get("/v1/state", self.state),
            web.get("/v1/model", self.model),
            web.post("/v1/roster", self.roster),
            web.post("/v1/epoch", self.epoch),
            web.post("/v1/drain", self.drain),
        ]

    async def health(self, _: web.Request) -> web.Response:
        """The event loop answers; 503 when the model could not be loaded, for a restart may help."""
        failure = self._rank.standing.failed
        return web.Response(status=503 if failure else 200, text=failure or "ok\n")

    async def ready(self, _: web.Request) -> web.Response:
        """A serving member of an epoch."""
        standing = self._rank.standing
        serving = standing.phase == "serving"
        return web.Response(status=200 if serving else 503, text="ok\n" if serving else f"{standing.reason}\n")

    async def metrics(self, _: web.Request) -> web.Response:
        text = self._rank.metrics.text(self._rank.state())
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4"})

    async def state(self, _: web.Request) -> web.Response:
        return reply(self._rank.state())

    async def model(self, _: web.Request) -> web.Response:
        if self._rank.model is None:
            raise refuse("not_ready", "the model is being loaded", 1000)
        return web.Response(body=self._rank.model.descriptor, content_type="application/json")

    async def roster(self, request: web.Request) -> web.Response:
        roster = await parse(request, Roster)
        self._agent().take_roster(roster)
        return reply(self._rank.state())

    async def epoch(self, request: web.Request) -> web.Response:
        proposal = await parse(request, EpochProposal)
        agent = self._agent()
        if not can_join(self._rank.state()):
            raise refuse("draining", f"{self._rank.config.rank.rank_id} joins no epoch any more")
        agent.take_proposal(proposal)
        return reply(self._rank.state())

    async def drain(self, _: web.Request) -> web.Response:
        """Take nothing new and hand on what it holds; then the state's phase is drained. SIGTERM ends the process."""
        self._on_drain()
        return reply(self._rank.state())

    def _agent(self) -> MembershipAgent:
        if self._rank.agent is None:
            raise refuse("not_ready", f"{self._rank.standing.reason}", 1000)
        return self._rank.agent
