"""The transports that can be tried here: NIXL's where its package is installed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from csps_engine.transfer.nixl_transport import NixlMissing, NixlTransport
from csps_engine.transfer.transport import TcpTransport, Transport

_names = count()


def _nixl() -> Transport:
    return NixlTransport(f"test-{next(_names)}")


def _installed() -> bool:
    try:
        _nixl()
    except NixlMissing:
        return False
    return True


NIXL_INSTALLED = _installed()
TRANSPORTS: dict[str, Callable[[], Transport]] = {"tcp": TcpTransport, **({"nixl": _nixl} if NIXL_INSTALLED else {})}
