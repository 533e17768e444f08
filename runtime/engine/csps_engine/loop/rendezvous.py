"""The store where the members of an epoch meet. The coordinator hosts one per epoch."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from datetime import timedelta

import torch.distributed as dist

from csps_engine.comm.mesh import MeshBroken

SIOCGIFADDR = 0x8915
LOOK_SECONDS = 0.05
"""How often whoever joins looks whether it still should."""


def host_store(address: str, timeout: timedelta) -> dist.TCPStore:
    """A store on a free port of `address`; its `port` tells which."""
    # The libuv server is absent from some builds of torch; the plain one is in all.
    return dist.TCPStore(address, 0, None, True, timeout, wait_for_workers=False, use_libuv=False)


def join_store(host: str, port: int, timeout: timedelta, wanted: Callable[[], bool] = lambda: True) -> dist.TCPStore:
    """Connect to another rank's store; raises MeshBroken when it does not answer in time, or is not wanted any more.

    A host listens before it proposes, so one that refuses is gone, and that shows at once. torch itself would try it
    again until the time-out and all of that once more, and wait without end for one that hangs: hence the thread.
    """
    until = time.monotonic() + timeout.total_seconds()
    joined: Future[dist.TCPStore] = Future()
    threading.Thread(target=_join, args=(joined, host, port, timeout), name="join-store", daemon=True).start()
    while not wait([joined], LOOK_SECONDS).done:
        if not wanted():
            raise MeshBroken("superseded while its host was awaited")
        if time.monotonic() >= until:
            raise MeshBroken(f"the epoch's host at {host}:{port} did not answer in time")
    try:
        return joined.result()
    except (OSError, RuntimeError) as error:
        raise MeshBroken(f"the epoch's host at {host}:{port} is gone: {error}") from error


def _join(joined: Future[dist.TCPStore], host: str, port: int, timeout: timedelta) -> None:
    try:
        socket.create_connection((host, port), timeout.total_seconds()).close()
        joined.set_result(dist.TCPStore(host, port, None, False, timeout, wait_for_workers=False, use_libuv=False))
    except Exception as error:
        joined.set_exception(error)


def bind_collectives(address: str) -> None:
    """Let gloo and NCCL use the interface that has `address`; an explicit setting stays."""
    interface = interface_of(address)
    if interface is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)


def interface_of(address: str) -> str | None:
    """Name of the network interface with `address`, or None."""
    ip = ipaddress.ip_address(address)
    if ip.version == 6:
        return _interface_of_ipv6(ip.packed.hex())
    if ip.is_loopback:
        return next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                reply = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, request)
            except OSError:
                continue  # an interface without an IPv4 address
            if reply[20:24] == ip.packed:
                return name
    return None


def _interface_of_ipv6(address: str) -> str | None:
    try:
        with open("/proc/net/if_inet6", encoding="ascii") as table:
            rows = [line.split() for line in table]
    except OSError:
        return None
    return next((row[5] for row in rows if row[0] == address), None)
