"""Starts rank processes by forking one that has imported the engine already: restarts take no import of torch.

As a program: reads a JSON line a rank ({"environment", "log", "anew"}), answers with its pid, and writes a rank's exit
status to <log>.<pid> when it ends. Ranks end with it.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from csps_engine.__main__ import main

IMPORTED_BY_RANKS = ("csps_engine.server.follower", "csps_engine.server.process")
PR_SET_PDEATHSIG = 1


class BornRank:
    """The part of subprocess.Popen that the tests need."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid = pid
        self._exit = Path(f"{log}.{pid}")

    def poll(self) -> int | None:
        """Exit status, or None while it runs."""
        text = self._exit.read_text() if self._exit.exists() else ""
        return int(text) if text else None

    def wait(self, timeout: float) -> int:
        until = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() >= until:
                raise subprocess.TimeoutExpired("rank", timeout)
            time.sleep(0.01)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class Nursery:
    def __init__(self, engine: Path) -> None:
        path = os.pathsep.join([str(engine), str(engine / "tests" / "ranks")])
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, environment: dict[str, str], log: Path, anew: bool) -> BornRank:
        """`anew`: start Python from nothing, as a pod does."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"environment": environment, "log": str(log), "anew": anew}) + "\n")
        self._process.stdin.flush()
        return BornRank(int(self._process.stdout.readline()), log)

    def close(self) -> None:
        self._process.kill()
        self._process.wait(60)


def give_birth(environment: dict[str, str], log: str, anew: bool) -> int:
    pid = os.fork()
    if pid:
        return pid
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.update(environment)
    status = 1
    try:
        if anew:
            os.execv(sys.executable, [sys.executable, "-m", "csps_engine"])
        status = main([])
    finally:
        sys.stdout.flush()
        os._exit(status)


def run() -> None:
    for name in IMPORTED_BY_RANKS:
        importlib.import_module(name)
    logs: dict[int, str] = {}
    with os.fdopen(0, "rb", buffering=0) as orders:
        while True:
            ready, _, _ = select.select([orders], [], [], 0.02)
            if ready:
                line = orders.readline()
                if not line:
                    return
                order = json.loads(line)
                pid = give_birth(order["environment"], order["log"], order["anew"])
                logs[pid] = order["log"]
                sys.stdout.write(f"{pid}\n")
                sys.stdout.flush()
            for pid in list(logs):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    Path(f"{logs.pop(pid)}.{pid}").write_text(str(os.waitstatus_to_exitcode(status)))


if __name__ == "__main__":
    run()
