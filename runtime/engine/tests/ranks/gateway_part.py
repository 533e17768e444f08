"""The gateway's part of a request: reserve, prefill, decode."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rank_process import RankProcess

from csps_engine.core.page_keys import page_keys

GREEDY = {"temperature": 0, "topP": 1, "seed": 0, "logprobs": 0, "wantLogprobs": False}


class ServingError(AssertionError):
    """A step answered with an error event or refusal."""

    def __init__(self, step: str, failure: dict[str, Any]) -> None:
        super().__init__(f"{step}: {failure}")
        self.code = failure["code"]


@dataclass
class Request:
    prompt: Sequence[int]
    count: int
    """Tokens wanted in all, the first one from the prefill."""
    request_id: str = field(default_factory=lambda: f"r-{uuid.uuid4()}")
    stop: Sequence[int] = ()
    shares: bool = False
    """Its pages may be shared with other prompts that begin alike."""
    salt: str | None = None
    """They are shared only with prompts of the same one."""

    def reserve(self, pool: RankProcess, lease_ms: int = 30_000) -> dict[str, Any]:
        message: dict[str, Any] = {
            "requestId": self.request_id,
            "promptTokens": len(self.prompt),
            "maxNewTokens": self.count,
            "leaseMs": lease_ms,
        }
        if self.shares:
            message["pageKeys"] = page_keys(pool.state()["kvFormat"], self.prompt, cache_salt=self.salt)
        answer = pool.api.post("/v1/reserve", message)
        if answer.status != 200:
            raise ServingError("reserve", answer.body)
        return dict(answer.body)

    def prefill_message(self, reservation: dict[str, Any], deadline_ms: int = 120_000) -> dict[str, Any]:
        message: dict[str, Any] = {
            "requestId": self.request_id,
            "tokenIds": list(self.prompt),
            "sampling": GREEDY,
            "reservation": reservation,
            "deadlineMs": deadline_ms,
        }
        return message if self.salt is None else {**message, "cacheSalt": self.salt}

    def prefill(self, group: RankProcess, reservation: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """(first token, done event)"""
        events = list(group.api.stream("/v1/prefill", self.prefill_message(reservation)))
        if events[-1]["type"] == "error":
            raise ServingError("prefill", events[-1]["error"])
        tokens = [event for event in events if event["type"] == "token"]
        assert len(tokens) == 1
        return tokens[0]["tokenId"], events[-1]

    def decode_message(self, first: int) -> dict[str, Any]:
        return {
            "requestId": self.request_id,
            "promptTokens": len(self.prompt),
            "firstToken": first,
            "sampling": GREEDY,
            "maxNewTokens": self.count - 1,
            "stopTokenIds": list(self.stop),
            "shareable": self.shares,
        }

    def decode(self, pool: RankProcess, first: int) -> tuple[list[int], dict[str, Any]]:
        """(tokens after the first, done event)"""
        events = list(pool.api.stream("/v1/decode", self.decode_message(first)))
        if events[-1]["type"] == "error":
            raise ServingError("decode", events[-1]["error"])
        return [event["tokenId"] for event in events[:-1]], events[-1]

    def run(self, group: RankProcess, pool: RankProcess) -> list[int]:
        """All tokens."""
        first, _ = self.prefill(group, self.reserve(pool))
        return [first, *self.decode(pool, first)[0]]
