"""Both systems on a testbed: what each answers to a load."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.emulation.ears import Ear, wait_for_any
from bench.emulation.testbed import ENGINE, Shape, Testbed, TestbedError
from bench.mixed.control import TOKEN
from bench.mixed.load import Ask
from bench.mixed.outcome import Outcome
from bench.mixed.product_rank import GroupOf

RUN_TIMEOUT_S = 590
TRIAL_TOKENS = 192


@dataclass(frozen=True, slots=True)
class Served:
    """What the engine's ranks serve, and how."""

    model_file: Path
    groups: Sequence[GroupOf]
    told: str
    """The groups as text."""
    kv_bytes: int
    """Of each rank of the pool."""


def run_product(
    shape: Shape, served: Served, asks: Sequence[Ask], text: list[int], logs: Path | None = None
) -> list[Outcome]:
    """Real ranks of the engine, and clients on the network's switch. `logs`: a folder that gets the ranks' logs."""
    groups = served.groups
    described = [{"group": g.name, "role": g.role, "members": g.members()} for g in groups]
    messages = _messages(asks, text)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "token").write_text(TOKEN)
        worker = ["bench.mixed.product_rank", str(served.model_file), folder, served.told, str(served.kv_bytes)]
        with Testbed(shape, worker) as testbed:
            client = _Client(testbed.switch)
            try:
                client.ask({"task": "form", "groups": described})
                # Every group once, so that what is measured at start was measured.
                trial = [{"arrival": 0.0, "prompt": text[:TRIAL_TOKENS], "output": 3} for _ in groups[:-1]]
                client.ask({"task": "play", "groups": described, "asks": trial})
                answer = client.ask({"task": "play", "groups": described, "asks": messages})
            finally:
                client.close()
                if logs is not None:
                    logs.mkdir(parents=True, exist_ok=True)
                    for log in Path(folder).glob("*.log"):
                        shutil.copy(log, logs)
    return _outcomes(asks, answer["tokens"], answer["began"])


def run_chunked(
    shape: Shape, worker: Sequence[str], asks: Sequence[Ask], text: list[int]
) -> tuple[list[Outcome], float]:
    """Each request goes to the rank with the fewest prompt tokens before it.

    Answers also the prompt tokens per second of one rank, taken while all have one prompt each.
    """
    with Testbed(shape, worker) as testbed:
        ranks = range(shape.ranks)
        began = time.monotonic()
        took = _Dispatch(testbed, [{"arrival": 0.0, "prompt": text[:TRIAL_TOKENS], "output": 1} for _ in ranks]).play()
        rate = TRIAL_TOKENS / (max(times[0] for times in took) - began)
        began = time.monotonic()
        messages = _messages(asks, text)
        return _outcomes(asks, _Dispatch(testbed, messages).play(), began), rate


class _Client:
    """The program that plays the load, in the switch's namespace."""

    def __init__(self, namespace: str) -> None:
        command = ["ip", "netns", "exec", namespace, sys.executable, "-m", "bench.mixed.product_load"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ENGINE)}, text=True, **pipes)
        self._ear = Ear(self._process)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        while not self._ear.heard:
            if not wait_for_any([self._ear], RUN_TIMEOUT_S):
                raise TestbedError(f"the load's clients did not {request['task']} within {RUN_TIMEOUT_S} s")
            if not self._ear.listen():
                raise TestbedError("the load's clients ended")
        return self._ear.heard.popleft()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class _Dispatch:
    """Gives requests to ranks as they arrive, and hears of their tokens."""

    def __init__(self, testbed: Testbed, messages: Sequence[dict[str, Any]]) -> None:
        self._testbed = testbed
        self._messages = sorted(enumerate(messages), key=lambda pair: pair[1]["arrival"])
        self._times: list[list[float]] = [[] for _ in messages]
        self._ahead = [0] * testbed.ranks
        self._rank: dict[int, int] = {}

    def play(self) -> list[list[float]]:
        """When each token came, by request in the order given."""
        began, waiting = time.monotonic(), list(self._messages)
        left = sum(message["output"] for _, message in waiting)
        while left > 0:
            now = time.monotonic() - began
            while waiting and waiting[0][1]["arrival"] <= now:
                self._give(*waiting.pop(0))
            pause = waiting[0][1]["arrival"] - now if waiting else RUN_TIMEOUT_S - now
            for answer in self._testbed.heard(max(0.0, pause)):
                for request_id in answer["grown"]:
                    self._grew(int(request_id), answer["time"])
                    left -= 1
            if now > RUN_TIMEOUT_S:
                raise TestbedError(f"the load is not through after {RUN_TIMEOUT_S} s")
        return self._times

    def _give(self, number: int, message: dict[str, Any]) -> None:
        rank = min(range(len(self._ahead)), key=lambda r: self._ahead[r])
        self._rank[number] = rank
        self._ahead[rank] += len(message["prompt"])
        told = {"task": "serve", "id": str(number), "prompt": message["prompt"], "output": message["output"]}
        self._testbed.tell(rank, told)

    def _grew(self, number: int, at: float) -> None:
        if not self._times[number]:
            self._ahead[self._rank[number]] -= len(dict(self._messages)[number]["prompt"])
        self._times[number].append(at)


def _messages(asks: Sequence[Ask], text: list[int]) -> list[dict[str, Any]]:
    return [{"arrival": a.arrival_s, "prompt": text[: a.prompt_tokens], "output": a.output_tokens} for a in asks]


def _outcomes(asks: Sequence[Ask], times: Sequence[Sequence[float]], began: float) -> list[Outcome]:
    return [Outcome(ask, tuple(at - began for at in took)) for ask, took in zip(asks, times, strict=True)]
