from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from csps_engine.core.plan import Sampling
from csps_engine.loop.event_board import EventBoard, EventStream, decode_identity
from csps_engine.refusal import Refused, refuse
from csps_engine.scheduler.request import DecodeOrder
from csps_engine.server.serving import ServingHandlers
from csps_engine.wire.generated import DecodeRequest


class _Gone(web.StreamResponse):
    """Of a client whose connection turns out to be closed when a line is written."""

    async def prepare(self, request: web.BaseRequest) -> None:
        """There is nobody to tell."""

    async def write(self, data: bytes) -> None:
        raise ConnectionResetError("closed")


@pytest.mark.parametrize(("others", "cancelled"), [(0, ["r"]), (1, [])])
def test_a_client_that_is_found_gone_by_a_write_ends_its_request_unless_another_follows_it(
    others: int, cancelled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "StreamResponse", _Gone)
    told: list[str] = []
    handlers = ServingHandlers(SimpleNamespace(cancel=told.append))

    async def scene() -> None:
        stream = EventStream("about", lines=[b"{}\n"], followers=others)
        with pytest.raises(ConnectionResetError):
            await handlers._follow(make_mocked_request("POST", "/v1/decode"), "r", stream)
        assert stream.followers == others

    asyncio.run(scene())
    assert told == cancelled


ORDER = DecodeOrder(1, 4, frozenset(), Sampling(0, 1, 0))
ASKED = DecodeRequest.model_validate(
    {
        "requestId": "r",
        "promptTokens": 3,
        "firstToken": 1,
        "sampling": {"temperature": 0, "topP": 1, "seed": 0, "logprobs": 0, "wantLogprobs": False},
        "maxNewTokens": 4,
        "stopTokenIds": [],
    }
)
ABOUT = decode_identity(3, ORDER)


class _Beginning:
    """A decode whose beginning the engine has not come to yet, and a second client that asked for the same."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.board = EventBoard(asyncio.get_running_loop())
        self.cancelled: list[str] = []
        self.begun = asyncio.Event()
        self._failure = failure
        self._gate = asyncio.Event()
        rank = SimpleNamespace(
            board=self.board,
            call=self._call,
            cancel=self.cancelled.append,
            require_coordinator=lambda: None,
            pool_work=SimpleNamespace(begin=lambda *_: None),
        )
        self.first = asyncio.ensure_future(ServingHandlers(rank)._begin(ASKED, ORDER, ABOUT))

    async def _call(self, begin: Callable[[], None]) -> None:
        await self._gate.wait()
        if self._failure is not None:
            raise self._failure
        begin()
        self.begun.set()

    async def follow(self) -> asyncio.Future[list[bytes]]:
        await asyncio.sleep(0)
        stream = self.board.running("r", ABOUT)
        assert stream is not None
        lines: asyncio.Future[list[bytes]] = asyncio.ensure_future(_lines(stream))
        for _ in range(10):
            await asyncio.sleep(0)
        assert stream.followers == 1
        return lines

    def let_begin(self) -> None:
        self._gate.set()


async def _lines(stream: EventStream) -> list[bytes]:
    return [line async for line in stream.follow()]


def _play(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scene(), 30))


def test_a_decode_that_is_refused_is_refused_to_whoever_asked_for_it_meanwhile() -> None:
    async def scene() -> None:
        beginning = _Beginning(refuse("unknown_request", "it holds nothing here"))
        second = await beginning.follow()
        beginning.let_begin()
        with pytest.raises(Refused, match="it holds nothing here"):
            await beginning.first
        (line,) = await second
        assert b"unknown_request" in line
        assert beginning.board.running("r", ABOUT) is None

    _play(scene)


def test_a_decode_begins_although_the_client_that_asked_first_has_left_if_another_follows_it() -> None:
    async def scene() -> None:
        beginning = _Beginning()
        second = await beginning.follow()
        beginning.first.cancel()
        await asyncio.wait({beginning.first})
        beginning.let_begin()
        await beginning.begun.wait()
        assert beginning.cancelled == []
        assert not second.done()
        second.cancel()

    _play(scene)


def test_a_decode_whose_only_client_leaves_before_it_began_is_cancelled() -> None:
    async def scene() -> None:
        beginning = _Beginning()
        await asyncio.sleep(0)
        beginning.first.cancel()
        await asyncio.wait({beginning.first})
        assert beginning.cancelled == ["r"]
        assert beginning.board.running("r", ABOUT) is None

    _play(scene)
