"""A rank, assembled: model, page pool, engine thread, transfer port, membership agent."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from csps_engine.config import EngineConfig
from csps_engine.core.kvshape import KvShape
from csps_engine.core.plan import PAGE_TOKENS
from csps_engine.loop.agent import AgentHooks, MembershipAgent
from csps_engine.loop.cancels import Cancels
from csps_engine.loop.coordinators import Coordinators
from csps_engine.loop.engine import EngineThread, EngineTimes
from csps_engine.loop.epoch_work import Epoch, EpochWork, Load
from csps_engine.loop.event_board import EventBoard, decode_identity
from csps_engine.loop.inbox import Inbox
from csps_engine.loop.peers import Peers
from csps_engine.loop.pool_work import PoolWork
from csps_engine.loop.prefill_work import PrefillWork
from csps_engine.loop.relay import Relay
from csps_engine.loop.reports import ShardReports
from csps_engine.loop.standing import Standing
from csps_engine.membership.departure import Departures
from csps_engine.membership.roster_book import RosterBook
from csps_engine.metrics import Metrics
from csps_engine.refusal import not_coordinator, refuse
from csps_engine.scheduler.request import PoolRequest
from csps_engine.server.crew import Crew, LeadSeat
from csps_engine.server.loaded import LoadedModel, load
from csps_engine.server.settle import settle
from csps_engine.server.work import Outlets, make_pool, make_prefill
from csps_engine.transfer.receiver import TransferServer
from csps_engine.wire.generated import RankPhase, RankState

log = logging.getLogger(__name__)

T = TypeVar("T")
CALL_SECONDS = 30.0
UNFOLLOWED_SECONDS = 20.0
"""A request that was taken over ends when nobody follows its stream by then."""


class Rank:
    """Everything behind the control API. Lives on the event loop; `loaded` parts are None until then."""

    def __init__(self, config: EngineConfig, crew: Crew, shards: Callable[[KvShape], ShardReports]) -> None:
        self.config = config
        self.crew = crew
        self._seat = LeadSeat(crew)
        self.metrics = Metrics()
        self.standing = Standing(self.metrics)
        self.book = RosterBook(config.group, config.role, config.rank)
        self.peers = Peers(config.control_token)
        self.loop = asyncio.get_running_loop()
        self.board = EventBoard(self.loop)
        coordinators = Coordinators(config.rank.rank_id, self.standing, self.book, self.peers)
        self.relay = Relay(self.board, self.peers, coordinators.successor)
        self.cancels = Cancels(self.cancel_here, coordinators.present, self.peers)
        self.model: LoadedModel | None = None
        self.pool_work: PoolWork | None = None
        self.prefill_work: PrefillWork | None = None
        self.engine: EngineThread | None = None
        self.agent: MembershipAgent | None = None
        self._transfer: TransferServer | None = None
        self._shards = shards

    async def bring_up(self) -> None:
        """Load the model and get ready to join epochs; then keep membership going until cancelled."""
        try:
            model = await asyncio.to_thread(load, self.config, self._seat)
            await asyncio.to_thread(self._make_work, model)
            await asyncio.to_thread(settle)
            await self.crew.ready()
        except Exception as error:
            log.exception("the model could not be loaded")
            self.standing.failed = f"the model could not be loaded: {error}"
            return
        try:
            agent = self._make_engine()
            self.model = model
            self.standing.loaded = True
            pages = self.state().pages_total
            log.info("ready to join", extra={"fields": {"kvFormat": model.kv_format, "pages": pages}})
            await agent.run()
        except Exception as error:
            # Nothing would form epochs any more: show it, so that the process is restarted.
            log.exception("the membership agent failed")
            self.standing.failed = f"the membership agent failed: {error}"

    async def call(self, function: Callable[[], T]) -> T:
        """Run on the engine thread between two ticks; raises what it raises."""
        future = asyncio.wrap_future(self.engine_inbox().call(function))
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await future
        except TimeoutError:
            raise refuse("deadline_exceeded", f"the engine was busy for {CALL_SECONDS:.0f} s", 1000) from None

    def engine_inbox(self) -> Inbox:
        if self.engine is None:
            raise refuse("not_ready", "the model is being loaded", 1000)
        return self.engine.inbox

    def cancel(self, request_id: str) -> asyncio.Task[None]:
        """End a request that nobody waits for, on whichever rank coordinates it; done once one has taken it."""
        self.relay.cancel(request_id)
        return self.cancels.begin(request_id)

    async def cancel_here(self, request_id: str) -> bool:
        """Whether this rank could: another one may coordinate the request. Waits for the tick that is under way."""
        work, epoch = self.pool_work or self.prefill_work, self.standing.serving
        if work is None or self.engine is None or (epoch is not None and not epoch.coordinates):
            return False
        return await asyncio.wrap_future(self.engine.inbox.call(lambda: work.cancel(request_id)))

    def require_coordinator(self) -> None:
        """Raises Refused unless this rank coordinates a serving epoch and takes work.

        A pool's coordinator that drains goes on until it has handed its pool over.
        """
        standing, rank_id = self.standing, self.config.rank.rank_id
        if standing.draining and (self.config.role == "prefill" or standing.serving is None):
            raise refuse("draining", f"{rank_id} takes no new work", 1000)
        if standing.serving is None:
            raise refuse("not_ready", f"{rank_id} serves in no epoch: {standing.reason}", 500)
        if not standing.serving.coordinates:
            raise not_coordinator(rank_id, standing.serving.proposal.coordinator)

    @property
    def work(self) -> EpochWork | None:
        """None while the model is being loaded."""
        return self.pool_work or self.prefill_work

    @property
    def drained(self) -> bool:
        """Asked to leave, and nothing is left to wait for."""
        epoch, load = self.standing.serving, self.work.load if self.work else Load()
        if not self.standing.draining:
            return False
        if self.config.role == "prefill" or (epoch is not None and epoch.coordinates):
            idle = not load.running and not load.waiting
            return epoch is None or (idle and not load.held_pages)
        return not load.held_pages and not load.homes and (epoch is None or load.closed)

    def state(self) -> RankState:
        standing, config = self.standing, self.config
        work = self.work
        load = work.load if work else Load()
        fence, generation = self.book.order
        return RankState(
            rank=config.rank,
            role=config.role,
            deployment=config.deployment,
            group=config.group,
            phase=self._phase(),
            reason=standing.reason,
            fence=fence,
            generation=generation,
            epoch=standing.last.number if standing.last else 0,
            epoch_members=[m.rank_id for m in standing.serving.members] if standing.serving else [],
            coordinator=standing.coordinator,
            model=config.model_name,
            kv_format=self.model.kv_format if self.model else "",
            context_length=config.context_length,
            page_tokens=PAGE_TOKENS,
            pages_total=load.pages_total,
            pages_free=load.pages_free,
            pool_pages_total=load.pool_pages_total,
            pool_pages_free=load.pool_pages_free,
            running=load.running,
            waiting=load.waiting,
            last_break=standing.last_break,
            held_pages=load.held_pages,
            load=work.meter.report(time.monotonic()) if work else None,
        )

    def _phase(self) -> RankPhase:
        phase = self.standing.phase
        return "drained" if phase == "draining" and self.drained else phase

    async def close(self) -> None:
        await self.cancels.close()
        await self.relay.close()
        if self.engine is not None:
            await asyncio.to_thread(self.engine.stop, 2.0)
        if self._transfer is not None:
            self._transfer.close()
        await self.peers.close()

    def _make_work(self, model: LoadedModel) -> None:
        config, part = self.config, model.shard
        # Of the rank as a whole, whatever it is cut into.
        shards = self._shards(part.whole.kv_shape(part.shape.dtype))
        outlets = Outlets(self.board.post, self._take_over, self._hand_over, shards)
        if config.role == "prefill":
            self.prefill_work = make_prefill(config, part, self.metrics, outlets)
        else:
            self.pool_work, self._transfer = make_pool(config, part, self.metrics, outlets)

    def _take_over(self, request: PoolRequest) -> None:
        """Engine thread: the stream of a request that another rank coordinated goes on here."""
        if request.order is not None:
            self.board.open_from(request.request_id, decode_identity(request.prompt_tokens, request.order))
            self.loop.call_soon_threadsafe(
                self.loop.call_later, UNFOLLOWED_SECONDS, self._cancel_unfollowed, request.request_id
            )

    def _hand_over(self, requests: Sequence[PoolRequest]) -> None:
        """Engine thread: another rank goes on with these."""
        self.loop.call_soon_threadsafe(self.relay.start, list(requests))

    def _cancel_unfollowed(self, request_id: str) -> None:
        if self.board.unfollowed(request_id):
            self.cancel(request_id)

    def _make_engine(self) -> MembershipAgent:
        config, standing, loop = self.config, self.standing, self.loop
        work = self.work
        assert work is not None

        def formed(epoch: Epoch) -> None:
            loop.call_soon_threadsafe(standing.formed, epoch)

        def ended(epoch: Epoch, reason: str, broken: bool) -> None:
            loop.call_soon_threadsafe(standing.ended, epoch, reason, broken)

        self.engine = EngineThread(
            work,
            EngineTimes(config.heartbeat_ms / 1000, config.collective_timeout_ms / 1000),
            config.backend,
            self.metrics,
            on_formed=formed,
            on_ended=ended,
            seat=self._seat,
            settle=self.prefill_work.settle if self.prefill_work is not None else lambda: True,
        )
        inbox = self.engine.inbox
        hooks = AgentHooks(
            describe=self.state,
            give_up=lambda reason: inbox.put(lambda: work.give_up(reason)),
            close_ranks=lambda rank_ids: inbox.put(lambda: work.close_ranks(rank_ids)),
            emptied=lambda: work.load.emptied,
        )
        self.agent = MembershipAgent(
            me=config.rank,
            book=self.book,
            standing=standing,
            engine=self.engine,
            peers=self.peers,
            hooks=hooks,
            departures=Departures(config.drain_grace_ms / 1000),
        )
        self.engine.start()
        return self.agent
