"""A network namespace for each rank, all on one bridge; every rank's link is shaped in both directions."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Network

from bench.emulation.names import own_name, stale

SUBNET = IPv4Network("10.77.0.0/24")
INTERFACE = "e0"
CLIENT = str(SUBNET[250])
"""Address of the switch itself, for clients of the ranks; its link is not shaped."""
BURST_BYTES = 128 * 1024
QUEUE_MS = 100
COMMAND_TIMEOUT_S = 20
CONGESTION_CONTROL = "net.ipv4.tcp_congestion_control=reno"
"""BBR takes the pauses of a process at its quota for a slower link and settles at half of the shaped rate."""


class NetworkError(RuntimeError):
    """A namespace, link or shaper could not be made. The message holds the command and its complaint."""


@dataclass(frozen=True, slots=True)
class Link:
    """What every rank's link is like."""

    mbit: float
    """In 10^6 bits a second, each way."""
    delay_ms: float = 0.0
    """Added to each packet that a rank sends; needs the kernel's netem."""


class Network:
    """Makes namespaces and removes them. They live until removed, so a later testbed removes what a crash left."""

    def __init__(self) -> None:
        for tool in ("ip", "tc"):
            if shutil.which(tool) is None:
                raise NetworkError(f"{tool} is missing: install iproute2")
        self._made: list[str] = []
        self.switch = ""
        """The namespace of the bridge, once made."""

    def make(self, ranks: int, link: Link) -> list[str]:
        """Namespaces by rank."""
        switch = self._namespace("switch")
        _run("ip", "-n", switch, "link", "add", "br0", "type", "bridge")
        _run("ip", "-n", switch, "addr", "add", f"{CLIENT}/{SUBNET.prefixlen}", "dev", "br0")
        _run("ip", "-n", switch, "link", "set", "br0", "up")
        self.switch = switch
        return [self._rank(switch, rank, link) for rank in range(ranks)]

    def remove(self) -> None:
        """Remove what was made, links and shapers with it."""
        while self._made:
            _run("ip", "netns", "del", self._made.pop())

    def remove_stale(self) -> list[str]:
        """Remove what dead testbeds left; says what."""
        names = stale(line.split()[0] for line in _run("ip", "netns", "list").splitlines() if line)
        for name in names:
            _run("ip", "netns", "del", name)
        return names

    def _rank(self, switch: str, rank: int, link: Link) -> str:
        name, port = self._namespace(str(rank)), f"p{rank}"
        pair = ["link", "add", INTERFACE, "netns", name, "type", "veth", "peer", "name", port, "netns", switch]
        _run("ip", *pair)
        _run("ip", "-n", switch, "link", "set", port, "master", "br0", "up")
        _run("ip", "-n", name, "addr", "add", f"{address(rank)}/{SUBNET.prefixlen}", "dev", INTERFACE)
        _run("ip", "-n", name, "link", "set", INTERFACE, "up")
        _run("ip", "netns", "exec", name, "sysctl", "-q", "-w", CONGESTION_CONTROL)
        for namespace, device in ((name, INTERFACE), (switch, port)):
            shaper = ["rate", f"{link.mbit}mbit", "burst", str(BURST_BYTES), "latency", f"{QUEUE_MS}ms"]
            _run("tc", "-n", namespace, "qdisc", "add", "dev", device, "root", "handle", "1:", "tbf", *shaper)
        if link.delay_ms > 0:
            delay = ["netem", "delay", f"{link.delay_ms}ms"]
            _run("tc", "-n", name, "qdisc", "add", "dev", INTERFACE, "parent", "1:1", "handle", "10:", *delay)
        return name

    def _namespace(self, part: str) -> str:
        name = own_name(part)
        _run("ip", "netns", "add", name)
        self._made.append(name)
        _run("ip", "-n", name, "link", "set", "lo", "up")
        return name


def address(rank: int) -> str:
    """A rank's address on the bridge."""
    return str(SUBNET[rank + 1])


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise NetworkError(f"`{' '.join(argv)}` failed: {done.stderr.strip()}")
    return done.stdout
