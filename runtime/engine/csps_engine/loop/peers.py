"""Calls to the control API of the other ranks of the group; each with a short deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import aiohttp
from pydantic import ValidationError

from csps_engine.refusal import Refused, refuse
from csps_engine.wire.generated import (
    CancelRequest,
    DecodeRequest,
    EpochProposal,
    Failure,
    RankRef,
    RankState,
    WireMessage,
)

STREAM_SILENCE_SECONDS = 30.0


class Peers:
    """One HTTP session; made and used on the event loop."""

    def __init__(self, token: str, seconds: float = 1.5) -> None:
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}"}, timeout=aiohttp.ClientTimeout(total=seconds)
        )

    async def close(self) -> None:
        await self._session.close()

    async def states(self, ranks: Iterable[RankRef]) -> dict[str, RankState]:
        """The state of every rank that answers in time, by rankId."""
        asked = list(ranks)
        answers = await asyncio.gather(*(self._state(rank) for rank in asked))
        return {rank.rank_id: state for rank, state in zip(asked, answers, strict=True) if state is not None}

    async def propose(self, rank: RankRef, proposal: EpochProposal) -> None:
        """Raises Refused, also when the rank does not answer."""
        await self._post(rank, "/v1/epoch", proposal)

    async def cancel(self, rank: RankRef, request_id: str) -> None:
        """Pass a cancel on to who should coordinate the request; raises Refused, also when that rank does not."""
        await self._post(rank, "/v1/cancel", CancelRequest(request_id=request_id, passed_on=True))

    async def follow(self, rank: RankRef, message: DecodeRequest) -> AsyncIterator[bytes]:
        """The lines of a decode that is under way there, from its first; raises Refused when there is none."""
        timeout = aiohttp.ClientTimeout(total=None, sock_read=STREAM_SILENCE_SECONDS)
        try:
            url, body = _url(rank, "/v1/decode"), message.to_wire()
            async with self._session.post(url, json=body, timeout=timeout) as response:
                if response.status != 200:
                    raise Refused(Failure.model_validate_json(await response.read()))
                async for line in response.content:
                    yield line
        except (TimeoutError, aiohttp.ClientError, ValidationError) as error:
            raise refuse("not_ready", f"the stream from {rank.rank_id} broke: {error!r}") from error

    async def _post(self, rank: RankRef, path: str, message: WireMessage) -> None:
        try:
            async with self._session.post(_url(rank, path), json=message.to_wire()) as response:
                if response.status != 200:
                    raise Refused(Failure.model_validate_json(await response.read()))
        except (TimeoutError, aiohttp.ClientError, ValidationError) as error:
            raise refuse("not_ready", f"{rank.rank_id} did not answer: {error!r}") from error

    async def _state(self, rank: RankRef) -> RankState | None:
        try:
            async with self._session.get(_url(rank, "/v1/state")) as response:
                return RankState.model_validate_json(await response.read()) if response.status == 200 else None
        except (TimeoutError, aiohttp.ClientError, ValidationError):
            return None


def _url(rank: RankRef, path: str) -> str:
    host = f"[{rank.address}]" if ":" in rank.address else rank.address
    return f"http://{host}:{rank.control_port}{path}"
