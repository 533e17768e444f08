"""A small client of the control API; every call opens a connection of its own."""

from __future__ import annotations

import http.client
import json
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

DEADLINE_SECONDS = 60.0


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any


class RankApi:
    def __init__(self, host: str, port: int, token: str) -> None:
        self._host, self._port, self._token = host, port, token

    def get(self, path: str) -> Answer:
        return self._call("GET", path, None)

    def post(self, path: str, message: dict[str, Any] | bytes) -> Answer:
        return self._call("POST", path, message if isinstance(message, bytes) else json.dumps(message).encode())

    def stream(self, path: str, message: dict[str, Any]) -> Generator[dict[str, Any]]:
        """Events of an NDJSON answer; a refusal is yielded as an error event. Closing it drops the connection."""
        connection = self._connect()
        try:
            connection.request("POST", path, json.dumps(message), self._headers())
            response = connection.getresponse()
            if response.status != 200:
                yield {"type": "error", "error": json.loads(response.read())}
                return
            for line in response:
                yield json.loads(line)
        finally:
            connection.close()

    def _call(self, method: str, path: str, body: bytes | None) -> Answer:
        connection = self._connect()
        try:
            connection.request(method, path, body, self._headers())
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        is_json = response.headers.get_content_type() == "application/json"
        return Answer(response.status, json.loads(content) if is_json else content.decode())

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._host, self._port, timeout=DEADLINE_SECONDS)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
