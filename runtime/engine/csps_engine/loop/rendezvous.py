"""The store where the members of an epoch meet. The coordinator hosts one per epoch."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import socket
import struct
from datetime import timedelta

import torch.distributed as dist

SIOCGIFADDR = 0x8915


def host_store(address: str, timeout: timedelta) -> dist.TCPStore:
    """A store on a free port of `address`; its `port` tells which."""
    # The libuv server is absent from some builds of torch; the plain one is in all.
    return dist.TCPStore(address, 0, None, True, timeout, wait_for_workers=False, use_libuv=False)


def join_store(host: str, port: int, timeout: timedelta) -> dist.TCPStore:
    """Connect to another rank's store; raises RuntimeError when it does not answer in time."""
    return dist.TCPStore(host, port, None, False, timeout, wait_for_workers=False, use_libuv=False)


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
