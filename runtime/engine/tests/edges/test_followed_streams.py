from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from csps_engine.core.plan import Sampling
from csps_engine.loop.cancels import Cancels
from csps_engine.loop.event_board import EventBoard, EventStream, decode_identity
from csps_engine.loop.peers import Peers
from csps_engine.refusal import Refused, refuse
from csps_engine.scheduler.request import DecodeOrder
from csps_engine.server.answers import Answers
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

    async def scene() -> None:
        streams = _Streams()
        stream = EventStream("about", lines=[b"{}\n"], followers=others)
        with pytest.raises(ConnectionResetError):
            await streams.answers.follow(make_mocked_request("POST", "/v1/decode"), "r", stream)
        assert stream.followers == others
        await streams.close()
        assert streams.cancelled == cancelled

    _play(scene)


class _Streams:
    """Of a coordinator that takes cancels when it is let to: then an answer under way ends as cancelled."""

    def __init__(self) -> None:
        self.board = EventBoard(asyncio.get_running_loop())
        self.cancelled: list[str] = []
        self._gate = asyncio.Event()
        self._peers = Peers("token")
        self.cancels = Cancels(self._cancel, find=lambda: pytest.fail("it coordinates"), peers=self._peers)
        self.answers = Answers(self.board, self.cancels, self.cancels.begin)

    async def _cancel(self, request_id: str) -> bool:
        self.cancelled.append(request_id)
        await self._gate.wait()
        self.board.relay(request_id, CANCELLED)
        return True

    def follow(self, stream: EventStream) -> asyncio.Future[web.StreamResponse]:
        return asyncio.ensure_future(self.answers.follow(make_mocked_request("POST", "/v1/decode"), "r", stream))

    async def close(self) -> None:
        """Let the cancels be taken."""
        self._gate.set()
        await _turn()
        await self._peers.close()


CANCELLED = b'{"type":"done","reason":"cancelled","tokens":1,"ranks":["a"]}\n'
DONE = b'{"type":"done","reason":"stop","tokens":1,"ranks":["a"]}\n'


class _Opening(web.StreamResponse):
    """Of a client that has its answer's head a moment later."""

    async def prepare(self, request: web.BaseRequest) -> None:
        await asyncio.sleep(0.01)

    async def write(self, data: bytes) -> None:
        """It reads on."""

    async def write_eof(self, data: bytes = b"") -> None:
        """It has it all."""


async def _leave(client: asyncio.Future[web.StreamResponse]) -> None:
    client.cancel()
    await asyncio.wait({client})


async def _turn() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_what_the_next_client_begins_to_follow_is_not_cancelled_when_the_one_before_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(web, "StreamResponse", _Opening)

    async def scene() -> None:
        streams = _Streams()
        stream = streams.board.open("r", "about")
        left = streams.follow(stream)
        await asyncio.sleep(0.1)
        again = streams.follow(stream)
        await asyncio.sleep(0)
        await _leave(left)
        streams.board.relay("r", DONE)
        await again
        await streams.close()
        assert streams.cancelled == []

    _play(scene)


def test_an_attempt_whose_id_is_being_cancelled_is_refused_and_later_gets_nothing_of_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(web, "StreamResponse", _Opening)

    async def scene() -> None:
        streams = _Streams()
        left = streams.follow(streams.board.open("r", "about"))
        await asyncio.sleep(0.1)
        await _leave(left)
        with pytest.raises(Refused, match="requestId: r is being cancelled") as refused:
            streams.answers.refuse_cancelled("r")
        assert refused.value.failure.retry_after_ms
        await streams.close()
        streams.answers.refuse_cancelled("r")
        assert streams.board.running("r", "about") is None
        assert streams.board.done("r", "about") is None

    _play(scene)


def test_an_answer_that_was_over_before_its_client_left_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "StreamResponse", _Opening)

    async def scene() -> None:
        streams = _Streams()
        stream = streams.board.open("r", "about")
        left = streams.follow(stream)
        await asyncio.sleep(0.1)
        await _leave(left)
        streams.board.relay("r", DONE)
        await streams.close()
        assert streams.board.done("r", "about") is stream

    _play(scene)


def test_what_ended_under_an_id_is_not_told_to_the_attempt_that_reserves_anew() -> None:
    async def scene() -> None:
        board = EventBoard(asyncio.get_running_loop())
        running = board.open("running", "about")
        board.open("r", "about")
        board.relay("r", DONE)
        for request_id in ("r", "running", "unknown"):
            board.forget(request_id)
        assert board.done("r", "about") is None
        assert board.running("running", "about") is running

    _play(scene)


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
            cancels=None,
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
        await _turn()
        assert stream.followers == 2
        return lines

    def let_begin(self) -> None:
        self._gate.set()


async def _lines(stream: EventStream) -> list[bytes]:
    with stream.followed():
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


def test_a_decode_that_has_not_begun_is_wanted_by_who_asked_first_though_another_came_and_left() -> None:
    async def scene() -> None:
        beginning = _Beginning()
        second = await beginning.follow()
        stream = beginning.board.running("r", ABOUT)
        assert stream is not None
        second.cancel()
        await asyncio.wait({second})
        assert stream.followers == 1
        beginning.let_begin()
        assert await beginning.first is stream

    _play(scene)
