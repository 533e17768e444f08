"""The frame of the control API: token, parsed bodies, one error form."""

from __future__ import annotations

import hmac
import logging
from typing import TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import ValidationError

from csps_engine.refusal import STATUS, Refused, refuse
from csps_engine.wire.generated import Failure, WireMessage

log = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
MAX_BODY_BYTES = 64 * 2**20

M = TypeVar("M", bound=WireMessage)


async def parse(request: web.Request, message: type[M]) -> M:
    """The request's body as a message; raises Refused naming the first field at fault."""
    try:
        return message.model_validate_json(await request.read())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise refuse("bad_request", f"{where}: {first['msg']}") from error


def reply(message: WireMessage) -> web.Response:
    return web.Response(body=message.to_json(), content_type="application/json")


def failed(failure: Failure) -> web.Response:
    headers = {}
    if failure.retry_after_ms is not None:
        headers["Retry-After"] = str(max(1, -(-failure.retry_after_ms // 1000)))
    return web.Response(
        status=STATUS[failure.code], body=failure.to_json(), content_type="application/json", headers=headers
    )


def errors_as_failures() -> Middleware:
    """Middleware: whatever goes wrong is answered as a Failure."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refused as refused:
            return failed(refused.failure)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            response = failed(Failure(code="bad_request", message=f"{request.method} {request.path}: {error.reason}"))
            response.set_status(error.status)
            return response
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            return failed(Failure(code="internal", message="the rank failed to answer; its log says why"))

    return middleware


def bearer_token(token: str) -> Middleware:
    """Middleware: only health and metrics are open. Compared in constant time."""
    expected = f"Bearer {token}".encode()

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if request.path not in OPEN_PATHS and not hmac.compare_digest(given, expected):
            raise refuse("unauthorized", "the bearer token is missing or wrong")
        return await handler(request)

    return middleware
