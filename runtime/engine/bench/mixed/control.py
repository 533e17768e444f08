"""Calls of a rank's control API; every one opens a connection of its own."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

TOKEN = "token-of-the-benchmark"
TIMEOUT_S = 600


class Refused(RuntimeError):
    """A rank refused a call, or a stream ended with an error."""


def call(host: str, port: int, method: str, path: str, message: dict[str, Any] | None = None) -> dict[str, Any]:
    """The answer's JSON. Raises Refused, or OSError when nobody listens."""
    connection = _ask(host, port, method, path, message)
    try:
        answer = connection.getresponse()
        body: dict[str, Any] = json.loads(answer.read())
    finally:
        connection.close()
    if answer.status != 200:
        raise Refused(f"{path}: {body}")
    return body


def stream(host: str, port: int, path: str, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Events of an answer. Raises Refused."""
    connection = _ask(host, port, "POST", path, message)
    try:
        answer = connection.getresponse()
        if answer.status != 200:
            raise Refused(f"{path}: {answer.read().decode()}")
        for line in answer:
            event: dict[str, Any] = json.loads(line)
            if event["type"] == "error":
                raise Refused(f"{path}: {event['error']}")
            yield event
    finally:
        connection.close()


def _ask(host: str, port: int, method: str, path: str, message: dict[str, Any] | None) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    connection.request(method, path, None if message is None else json.dumps(message), headers)
    return connection
