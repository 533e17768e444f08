"""A rank that starts from nothing, as a real process on loopback, and what the operator and a gateway say to it."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

ENGINE = Path(__file__).parents[1]
OK = 200
DEADLINE_S = 240
POLL_S = 0.05
ANSWER_S = 1800
"""A prompt of thousands of tokens takes minutes on a machine that is busy."""
TOKEN = "token-of-the-benchmark"


class StartedRank:
    """The only member of its group."""

    def __init__(self, folder: Path, model_file: Path, role: str, kv_bytes: int) -> None:
        """Begins to start it; its log goes to `folder`."""
        self._role, self._control = role, _free_port()
        name = f"bench-{role}"
        self._ref: dict[str, Any] = {"rankId": f"{name}-0", "incarnation": str(uuid.uuid4()), "address": "127.0.0.1"}
        self._ref |= {"controlPort": self._control, "transferPort": _free_port()}
        token = folder / f"{role}-token"
        token.write_text(TOKEN)
        environment = {
            "CSPS_NAMESPACE": "bench",
            "CSPS_DEPLOYMENT": "bench",
            "CSPS_GROUP": name,
            "CSPS_ROLE": role,
            "CSPS_RANK_ID": self._ref["rankId"],
            "CSPS_INCARNATION": self._ref["incarnation"],
            "CSPS_ADDRESS": "127.0.0.1",
            "CSPS_CONTROL_PORT": str(self._control),
            "CSPS_TRANSFER_PORT": str(self._ref["transferPort"]),
            "CSPS_CONTROL_TOKEN_FILE": str(token),
            "CSPS_MODEL_PATH": str(model_file),
            "CSPS_MODEL_NAME": "bench",
            "CSPS_CONTEXT_LENGTH": "8192",
            "CSPS_KV_BYTES": str(kv_bytes),
            "PYTHONPATH": str(ENGINE),
        }
        self._log = folder / f"{role}-log"
        self._began = time.monotonic()
        with self._log.open("w") as log:
            command = [sys.executable, "-m", "csps_engine"]
            self._process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)

    def __enter__(self) -> StartedRank:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()

    def serve(self) -> tuple[float, float]:
        """Seconds of wall clock and of CPU until it serves, the roster pushed as soon as it takes one.

        Raises RuntimeError when it ends, or does not serve in time.
        """
        roster = {"group": self._ref["rankId"][:-2], "role": self._role, "fence": 1, "generation": 1, "minSize": 1}
        pushed = False
        while time.monotonic() - self._began < DEADLINE_S:
            if self._process.poll() is not None:
                raise RuntimeError(f"the rank ended:\n{self._log.read_text()[-2000:]}")
            try:
                pushed = pushed or self._call("POST", "/v1/roster", {**roster, "members": [self._ref]})[0] == OK
                if pushed and self._call("GET", "/v1/state", None)[1].get("phase") == "serving":
                    return time.monotonic() - self._began, self._cpu_s()
            except OSError:
                pass
            time.sleep(POLL_S)
        raise RuntimeError(f"the rank does not serve after {DEADLINE_S} s:\n{self._log.read_text()[-2000:]}")

    def ask(self, path: str, message: dict[str, Any]) -> dict[str, Any]:
        """Raises RuntimeError when it is refused."""
        status, body = self._call("POST", path, message)
        if status != OK:
            raise RuntimeError(f"{path} was refused: {body}")
        return body

    def tokens(self, path: str, message: dict[str, Any]) -> Iterator[int]:
        """Those of an answer that streams. Raises RuntimeError when it ends with an error."""
        connection = self._connect()
        try:
            connection.request("POST", path, json.dumps(message), _HEADERS)
            for line in connection.getresponse():
                event = json.loads(line)
                if event.get("type") == "token":
                    yield event["tokenId"]
                elif event.get("type") not in ("progress", "done"):
                    raise RuntimeError(f"{path}: {event}")
        finally:
            connection.close()

    def memory(self) -> dict[str, int]:
        """Bytes resident: `now`, of these `files` (pages of libraries that the kernel can take back), and `peak`."""
        names = {"VmRSS": "now", "RssFile": "files", "VmHWM": "peak"}
        lines = [line.split() for line in self._proc("status").read_text().splitlines()]
        return {names[line[0][:-1]]: int(line[1]) * 1024 for line in lines if line and line[0][:-1] in names}

    def forget_peak(self) -> None:
        """Let the peak begin with what is resident now."""
        self._proc("clear_refs").write_text("5")

    def _cpu_s(self) -> float:
        fields = self._proc("stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _proc(self, name: str) -> Path:
        return Path(f"/proc/{self._process.pid}/{name}")

    def _call(self, method: str, path: str, message: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        """Status and body of the answer."""
        connection = self._connect()
        try:
            connection.request(method, path, None if message is None else json.dumps(message), _HEADERS)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._control, timeout=ANSWER_S)


_HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
