"""A testbed: for each rank a CPU quota, a namespace with a shaped link, and a process in both.

Making one needs root. It is removed at the end, also after a failure; what a killed one left is removed by the
next.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.emulation.network import INTERFACE, Link, Network, address
from bench.emulation.quota import CpuQuotas, confine

ENGINE = Path(__file__).parent.parent.parent
START_TIMEOUT_S = 120
END_TIMEOUT_S = 10
QUOTA_TOLERANCE = 0.1


class TestbedError(RuntimeError):
    """The testbed cannot be made, or a rank failed."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a testbed is like."""

    ranks: int
    cores: float
    """Share of a core for each rank."""
    link: Link


class Testbed:
    """Context manager. `worker` is the module that each rank runs, with its arguments."""

    def __init__(self, shape: Shape, worker: Sequence[str]) -> None:
        if os.geteuid() != 0:
            raise TestbedError("the emulated testbed makes cgroups and network namespaces: run it as root")
        available = os.cpu_count() or 1
        if shape.ranks * shape.cores > available:
            raise TestbedError(f"{shape.ranks} ranks x {shape.cores} cores are more than this machine's {available}")
        self._shape = shape
        self._worker = worker
        self._quotas, self._network = CpuQuotas(), Network()
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Testbed:
        for left in [*self._network.remove_stale(), *self._quotas.remove_stale()]:
            sys.stderr.write(f"removed {left}, left by a testbed that was killed\n")
        try:
            self._start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def ask(self, ranks: int, request: Mapping[str, Any], timeout_s: float) -> list[dict[str, Any]]:
        """What the first `ranks` ranks answer to a request, by rank."""
        for process in self._processes[:ranks]:
            assert process.stdin is not None
            process.stdin.write(json.dumps({**request, "ranks": ranks}) + "\n")
            process.stdin.flush()
        deadline = time.monotonic() + timeout_s
        return [self._answer(rank, deadline) for rank in range(ranks)]

    def _start(self) -> None:
        shape = self._shape
        namespaces = self._network.make(shape.ranks, shape.link)
        cgroups = [self._quotas.make(str(rank), shape.cores) for rank in range(shape.ranks)]
        for rank, namespace in enumerate(namespaces):
            command = ["ip", "netns", "exec", namespace, sys.executable, "-m", *self._worker, str(rank), address(0)]
            environment = {"PYTHONPATH": str(ENGINE), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": INTERFACE}
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            process = subprocess.Popen(command, env={**os.environ, **environment}, text=True, **pipes)
            self._processes.append(process)
        deadline = time.monotonic() + START_TIMEOUT_S
        for rank in range(shape.ranks):
            self._answer(rank, deadline)
        # Only now: loading is not what is measured. From outside, for the namespace has another /sys.
        for process, cgroup in zip(self._processes, cgroups, strict=True):
            confine(cgroup, process.pid)
        self._check_quota()

    def _check_quota(self) -> None:
        shares = [answer["share"] for answer in self.ask(self._shape.ranks, {"task": "spin"}, START_TIMEOUT_S)]
        wanted = self._shape.cores
        sys.stderr.write(f"CPU shares used of a quota of {wanted}: {', '.join(f'{share:.3f}' for share in shares)}\n")
        if any(abs(share - wanted) > QUOTA_TOLERANCE * wanted for share in shares):
            raise TestbedError(
                f"ranks get {min(shares):.3f} to {max(shares):.3f} of a core, not {wanted}: is the machine busy?"
            )

    def _answer(self, rank: int, deadline: float) -> dict[str, Any]:
        out = self._processes[rank].stdout
        assert out is not None
        with selectors.DefaultSelector() as ready:
            ready.register(out, selectors.EVENT_READ)
            if not ready.select(max(0.0, deadline - time.monotonic())):
                raise TestbedError(f"rank {rank} did not answer in time")
        line = out.readline()
        if not line:
            raise TestbedError(f"rank {rank} ended with status {self._processes[rank].wait(END_TIMEOUT_S)}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _remove(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait(END_TIMEOUT_S)
        self._processes.clear()
        with contextlib.ExitStack() as removals:
            removals.callback(self._quotas.remove)
            removals.callback(self._network.remove)
