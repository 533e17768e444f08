"""Ports for processes that tests start."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from pathlib import Path

LOWEST_PORT = 20_000


def free_ports(count: int = 1) -> int:
    """The first of so many ports in a row.

    None of those that the system gives away: processes take some time to listen on theirs, and till then any socket of
    any process could get such a port.
    """
    lowest_given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        first = random.SystemRandom().randrange(LOWEST_PORT, lowest_given - count)
        with ExitStack() as probes:
            try:
                for port in range(first, first + count):
                    probes.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            return first
