"""The path of a request: reserve, prefill, decode, cancel."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Hashable
from functools import partial

from aiohttp import web

from csps_engine.core.page_keys import page_keys
from csps_engine.core.plan import PAGE_TOKENS, Sampling
from csps_engine.loop.event_board import EventStream, decode_identity
from csps_engine.loop.pool_work import PoolWork
from csps_engine.loop.prefill_queue import PrefillTask
from csps_engine.loop.prefill_work import PrefillWork
from csps_engine.loop.reports import error_event, refused_event
from csps_engine.loop.reservations import Wish
from csps_engine.refusal import Refused, refuse
from csps_engine.scheduler.request import DecodeOrder, PoolRequest, pages_for
from csps_engine.server.answers import Answers
from csps_engine.server.http import parse, reply
from csps_engine.server.rank import Rank
from csps_engine.wire import generated as wire

CANCEL_SECONDS = 1.5
"""So long a cancel is answered when it has been taken; after that it is, but goes on."""


class ServingHandlers:
    def __init__(self, rank: Rank) -> None:
        self._rank = rank
        self._answers = Answers(rank.board, rank.cancels, rank.cancel)

    def routes(self) -> list[web.RouteDef]:
        shared = [web.post("/v1/cancel", self.cancel)]
        if self._rank.config.role == "prefill":
            return [*shared, web.post("/v1/prefill", self.prefill)]
        return [*shared, web.post("/v1/reserve", self.reserve), web.post("/v1/decode", self.decode)]

    async def reserve(self, request: web.Request) -> web.Response:
        asked = await parse(request, wire.ReserveRequest)
        self._answers.refuse_cancelled(asked.request_id)
        self._rank.require_coordinator()
        self._check_context(asked.prompt_tokens + asked.max_new_tokens, "promptTokens + maxNewTokens")
        work, keys = self._pool_work(), tuple(asked.page_keys or ())
        if len(keys) > asked.prompt_tokens // PAGE_TOKENS:
            raise refuse("bad_request", f"pageKeys: {asked.prompt_tokens} tokens fill fewer than {len(keys)} pages")
        lengths = (asked.prompt_tokens, asked.max_new_tokens)
        wish = Wish(asked.request_id, lengths, asked.lease_ms, asked.wait_ms or 0, keys)
        confirmed = await self._rank.call(lambda: work.reserve(wish))
        reserved = await asyncio.wrap_future(confirmed)
        if reserved.phase == "reserved":
            # What ended before under this id is not the answer of the attempt that begins.
            self._rank.board.forget(asked.request_id)
        return reply(self._reservation(reserved))

    async def decode(self, request: web.Request) -> web.StreamResponse:
        """A second call with the same request id follows the same stream from its first token.

        Not once its client has left: then its pages are freed, and another attempt reserves its own.
        """
        asked = await parse(request, wire.DecodeRequest)
        self._answers.refuse_cancelled(asked.request_id)
        order = DecodeOrder(
            first_token=asked.first_token,
            max_new_tokens=asked.max_new_tokens,
            stop_token_ids=frozenset(asked.stop_token_ids),
            sampling=_sampling(asked.sampling),
            shareable=asked.shareable or False,
        )
        board, about = self._rank.board, decode_identity(asked.prompt_tokens, order)
        stream = board.running(asked.request_id, about) or board.done(asked.request_id, about)
        if stream is None:
            self._rank.require_coordinator()
            self._check_token(asked.first_token, "firstToken")
            stream = await self._begin(asked, order, about)
        return await self._answers.follow(request, asked.request_id, stream)

    async def prefill(self, request: web.Request) -> web.StreamResponse:
        asked = await parse(request, wire.PrefillRequest)
        self._answers.refuse_cancelled(asked.request_id)
        about = (tuple(asked.token_ids), asked.reservation.epoch)
        stream = self._rank.board.running(asked.request_id, about)
        if stream is None:
            self._rank.require_coordinator()
            self._check_prefill(asked)
            stream = await self._queue(asked, about)
        return await self._answers.follow(request, asked.request_id, stream, asked.deadline_ms / 1000)

    async def cancel(self, request: web.Request) -> web.Response:
        asked = await parse(request, wire.CancelRequest)
        if not asked.passed_on:
            await asyncio.wait({self._rank.cancel(asked.request_id)}, timeout=CANCEL_SECONDS)
        elif not await self._rank.cancel_here(asked.request_id):
            self._rank.require_coordinator()
            raise refuse("not_ready", "the epoch ends just now", 500)
        return web.json_response({})

    async def _begin(self, asked: wire.DecodeRequest, order: DecodeOrder, about: Hashable) -> EventStream:
        work, board = self._pool_work(), self._rank.board
        stream = board.open(asked.request_id, about)
        begun = asyncio.ensure_future(self._rank.call(lambda: work.begin(asked.request_id, asked.prompt_tokens, order)))
        try:
            with stream.followed():
                await asyncio.shield(begun)
        except asyncio.CancelledError:
            if stream.followers:
                begun.add_done_callback(partial(self._begun, asked.request_id))
            else:
                # The engine may be at it already, and tells it to nobody.
                begun.cancel()
                self._rank.cancel(asked.request_id)
                self._not_begun(asked.request_id, refuse("unknown_request", "its client left before it began"))
            raise
        except Exception as error:
            self._not_begun(asked.request_id, error)
            raise
        return stream

    def _begun(self, request_id: str, done: asyncio.Future[None]) -> None:
        """Its client has left, and another one follows it."""
        if not done.cancelled():
            self._not_begun(request_id, done.exception())

    def _not_begun(self, request_id: str, error: BaseException | None) -> None:
        """End the stream of a decode that did not begin: whoever asked for the same meanwhile follows it already."""
        if error is not None:
            event = refused_event(error) if isinstance(error, Refused) else error_event("internal", repr(error))
            self._rank.board.relay(request_id, event.to_json() + b"\n")

    async def _queue(self, asked: wire.PrefillRequest, about: Hashable) -> EventStream:
        task = prefill_task(asked, time.monotonic())
        work, board = self._prefill_work(), self._rank.board
        stream = board.open(asked.request_id, about)
        # Not awaited: the engine takes it between two ticks, and a tick may be someone else's long prompt.
        future = self._rank.engine_inbox().call(lambda: work.add(task))
        future.add_done_callback(lambda done: self._refused(asked.request_id, done.exception()))
        return stream

    def _refused(self, request_id: str, error: BaseException | None) -> None:
        if error is not None:
            self._rank.board.post([(request_id, error_event("epoch_broken", str(error)))])

    def _reservation(self, request: PoolRequest) -> wire.Reservation:
        epoch = self._rank.standing.serving
        if epoch is None:
            raise refuse("epoch_broken", "the epoch ended", 500)
        members = {member.rank_id: member for member in epoch.members}
        pages = request.pages[: request.prompt_pages]
        holders = sorted({rank for rank, _ in pages})
        return wire.Reservation(
            request_id=request.request_id,
            epoch=request.version,
            home_rank=request.home,
            holders=[members[rank] for rank in holders],
            pages=[wire.PagePlace(page=i, rank_id=rank, slot=slot) for i, (rank, slot) in enumerate(pages)],
            page_tokens=PAGE_TOKENS,
            kv_format=self._rank.state().kv_format,
            page_keys=list(request.keys) if request.keys else None,
            shared_pages=request.shared_pages or None,
        )

    def _check_prefill(self, asked: wire.PrefillRequest) -> None:
        reservation, mine = asked.reservation, self._rank.state().kv_format
        self._check_context(len(asked.token_ids) + 1, "tokenIds and one more")
        self._check_token(max(asked.token_ids), "tokenIds")
        if reservation.kv_format != mine or reservation.page_tokens != PAGE_TOKENS:
            raise refuse("bad_request", f"reservation.kvFormat: the pool holds {reservation.kv_format}, this is {mine}")
        if reservation.request_id != asked.request_id:
            raise refuse("bad_request", "reservation.requestId: differs from requestId")
        wanted = list(range(pages_for(len(asked.token_ids))))
        if [place.page for place in reservation.pages] != wanted:
            raise refuse("bad_request", f"reservation.pages: must be pages 0 to {wanted[-1]} in order")
        if not {p.rank_id for p in reservation.pages} <= {h.rank_id for h in reservation.holders}:
            raise refuse("bad_request", "reservation.holders: a rank named in pages is missing")
        keys = reservation.page_keys or []
        # Whoever shares these pages takes them for what their keys say.
        if keys and keys != page_keys(mine, asked.token_ids, cache_salt=asked.cache_salt)[: len(keys)]:
            raise refuse("bad_request", "reservation.pageKeys: are not those of tokenIds and cacheSalt")
        if (reservation.shared_pages or 0) > min(len(keys), (len(asked.token_ids) - 1) // PAGE_TOKENS):
            raise refuse("bad_request", "reservation.sharedPages: more than have keys, or no token is left to compute")

    def _check_context(self, tokens: int, field: str) -> None:
        limit = self._rank.config.context_length
        if tokens > limit:
            raise refuse("prompt_too_long", f"{field}: {tokens} tokens are more than the context of {limit}")

    def _check_token(self, token: int, field: str) -> None:
        model = self._rank.model
        if model is None:
            raise refuse("not_ready", "the model is being loaded", 1000)
        if token >= model.llama.config.vocab:
            raise refuse("bad_request", f"{field}: token {token} is not in a vocabulary of {model.llama.config.vocab}")

    def _pool_work(self) -> PoolWork:
        if self._rank.pool_work is None:
            raise refuse("not_ready", "the model is being loaded", 1000)
        return self._rank.pool_work

    def _prefill_work(self) -> PrefillWork:
        if self._rank.prefill_work is None:
            raise refuse("not_ready", "the model is being loaded", 1000)
        return self._rank.prefill_work


def prefill_task(asked: wire.PrefillRequest, now: float) -> PrefillTask:
    """What is asked for at time.monotonic() `now`."""
    return PrefillTask(
        request_id=asked.request_id,
        token_ids=tuple(asked.token_ids),
        sampling=_sampling(asked.sampling),
        reservation=asked.reservation,
        received_at=now,
        deadline=now + asked.deadline_ms / 1000,
        attention=None if asked.attention == "auto" else asked.attention,
        degree=asked.degree or 0,
        objective_seconds=math.inf if asked.ttft_ms is None else asked.ttft_ms / 1000,
        waited_seconds=(asked.waited_ms or 0) / 1000,
    )


def _sampling(asked: wire.Sampling) -> Sampling:
    return Sampling(asked.temperature, asked.top_p, asked.seed, asked.logprobs, asked.want_logprobs)
