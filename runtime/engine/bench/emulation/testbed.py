"""A testbed: for each rank a CPU quota, a namespace with a shaped link, and a process in both.

Making one needs root. It is removed at the end, also after a failure; what a killed one left is removed by the
next.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.emulation.ears import Ear, wait_for_any
from bench.emulation.network import INTERFACE, Link, Network, address
from bench.emulation.quota import CpuQuotas, confine

ENGINE = Path(__file__).parent.parent.parent
START_TIMEOUT_S = 300
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
        self._ears: list[Ear] = []

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

    @property
    def ranks(self) -> int:
        return self._shape.ranks

    @property
    def switch(self) -> str:
        """The namespace from which all ranks can be reached."""
        return self._network.switch

    def tell(self, rank: int, request: Mapping[str, Any]) -> None:
        """Give a rank a line without waiting for an answer."""
        process = self._processes[rank]
        assert process.stdin is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()

    def heard(self, timeout_s: float) -> list[dict[str, Any]]:
        """What any ranks said, once one does; nothing after the time. Raises TestbedError when one has ended."""
        for rank in wait_for_any(self._ears, timeout_s):
            self._listen(rank)
        answers = [answer for ear in self._ears for answer in ear.heard]
        for ear in self._ears:
            ear.heard.clear()
        return answers

    def ask(self, ranks: int, request: Mapping[str, Any], timeout_s: float) -> list[dict[str, Any]]:
        """What the first `ranks` ranks answer to a request, by rank."""
        for rank in range(ranks):
            self.tell(rank, {**request, "ranks": ranks})
        deadline = time.monotonic() + timeout_s
        return [self._answer(rank, deadline) for rank in range(ranks)]

    def _start(self) -> None:
        shape = self._shape
        namespaces = self._network.make(shape.ranks, shape.link)
        cgroups = [self._quotas.make(str(rank)) for rank in range(shape.ranks)]
        for rank, namespace in enumerate(namespaces):
            command = ["ip", "netns", "exec", namespace, sys.executable, "-m", *self._worker, str(rank), address(0)]
            environment = {"PYTHONPATH": str(ENGINE), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": INTERFACE}
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            process = subprocess.Popen(command, env={**os.environ, **environment}, text=True, **pipes)
            self._processes.append(process)
            self._ears.append(Ear(process))
            # From outside, for the namespace has another /sys.
            confine(cgroups[rank], process.pid)
        deadline = time.monotonic() + START_TIMEOUT_S
        for rank in range(shape.ranks):
            self._answer(rank, deadline)
        # Only now: loading is not what is measured.
        for cgroup in cgroups:
            self._quotas.limit(cgroup, shape.cores)
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
        ear = self._ears[rank]
        while not ear.heard:
            if not wait_for_any([ear], deadline - time.monotonic()):
                raise TestbedError(f"rank {rank} did not answer in time")
            self._listen(rank)
        return ear.heard.popleft()

    def _listen(self, rank: int) -> None:
        if not self._ears[rank].listen():
            raise TestbedError(f"rank {rank} ended with status {self._processes[rank].wait(END_TIMEOUT_S)}")

    def _remove(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait(END_TIMEOUT_S)
        self._processes.clear()
        self._ears.clear()
        with contextlib.ExitStack() as removals:
            removals.callback(self._quotas.remove)
            removals.callback(self._network.remove)
