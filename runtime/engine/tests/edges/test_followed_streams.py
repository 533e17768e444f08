from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from csps_engine.loop.event_board import EventStream
from csps_engine.server.serving import ServingHandlers


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
