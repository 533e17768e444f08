"""The gateway's part for a load: reserve, prefill, decode, each request by a thread of its own.

python -m bench.mixed.product_load, in a namespace that reaches the ranks; reads one JSON line, answers with one.
A request goes to the prefill group in which it would be through first, judged by tokens ahead of it and ranks.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.mixed.control import call, stream

GREEDY = {"temperature": 0, "topP": 1, "seed": 0, "logprobs": 0, "wantLogprobs": False}
LEASE_MS = 600_000
SERVING_DEADLINE_S = 60
POLL_S = 0.1


class Groups:
    """Coordinators of the prefill groups, and what was given to each and is not through."""

    def __init__(self, described: list[dict[str, Any]]) -> None:
        self._groups = described
        self._tokens = [0] * len(described)
        self._lock = threading.Lock()

    def take(self, tokens: int) -> int:
        with self._lock:
            ranks = [len(group["members"]) for group in self._groups]
            chosen = min(range(len(ranks)), key=lambda n: (self._tokens[n] + tokens) / ranks[n])
            self._tokens[chosen] += tokens
            return chosen

    def done(self, number: int, tokens: int) -> None:
        with self._lock:
            self._tokens[number] -= tokens

    def coordinator(self, number: int) -> tuple[str, int]:
        return coordinator(self._groups[number])


def coordinator(group: dict[str, Any]) -> tuple[str, int]:
    first = group["members"][0]
    return first["address"], first["controlPort"]


def form(group: dict[str, Any]) -> None:
    """Push the roster and wait until all members serve in one epoch."""
    roster = {**group, "fence": 1, "generation": 1, "minSize": 1}
    for member in group["members"]:
        call(member["address"], member["controlPort"], "POST", "/v1/roster", roster)
    deadline = time.monotonic() + SERVING_DEADLINE_S
    while time.monotonic() < deadline:
        states = [call(m["address"], m["controlPort"], "GET", "/v1/state") for m in group["members"]]
        if all(s["phase"] == "serving" and len(s["epochMembers"]) == len(states) for s in states):
            return
        time.sleep(POLL_S)
    raise TimeoutError(f"group {group['group']} does not serve within {SERVING_DEADLINE_S} s")


def serve(ask: dict[str, Any], groups: Groups, pool: tuple[str, int]) -> list[float]:
    """When each token came, of the machine's monotonic clock."""
    request_id, prompt = f"r-{uuid.uuid4()}", ask["prompt"]
    lengths = {"requestId": request_id, "promptTokens": len(prompt), "maxNewTokens": ask["output"]}
    reservation = call(*pool, "POST", "/v1/reserve", {**lengths, "leaseMs": LEASE_MS, "waitMs": LEASE_MS})
    number = groups.take(len(prompt))
    took: list[float] = []
    try:
        message = {
            "requestId": request_id,
            "tokenIds": prompt,
            "sampling": GREEDY,
            "reservation": reservation,
            "deadlineMs": LEASE_MS,
        }
        first = 0
        for event in stream(*groups.coordinator(number), "/v1/prefill", message):
            if event["type"] == "token":
                first = event["tokenId"]
                took.append(time.monotonic())
    finally:
        groups.done(number, len(prompt))
    message = {
        "requestId": request_id,
        "promptTokens": len(prompt),
        "firstToken": first,
        "sampling": GREEDY,
        "maxNewTokens": ask["output"] - 1,
        "stopTokenIds": [],
    }
    took += [time.monotonic() for event in stream(*pool, "/v1/decode", message) if event["type"] == "token"]
    return took


def play(asks: list[dict[str, Any]], groups: Groups, pool: tuple[str, int]) -> dict[str, Any]:
    began = time.monotonic()

    def one(ask: dict[str, Any]) -> list[float]:
        time.sleep(max(0.0, began + ask["arrival"] - time.monotonic()))
        return serve(ask, groups, pool)

    with ThreadPoolExecutor(len(asks)) as threads:
        took = list(threads.map(one, asks))
    return {"began": began, "tokens": took}


def main() -> None:
    for line in iter(sys.stdin.readline, ""):
        told = json.loads(line)
        if told["task"] == "form":
            for group in told["groups"]:
                form(group)
            answer: dict[str, Any] = {"formed": True}
        else:
            *prefill, pool = told["groups"]
            answer = play(told["asks"], Groups(prefill), coordinator(pool))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
