"""Where Redis is, read from one URL, in the forms that runtime/state/redisAddress.ts reads too.

    redis://[user:password@]host[:port][/db]         one server; rediss:// over TLS
    redis+sentinel://...@host[:26379][/db]?master=   the primary that Sentinels name
    redis+cluster://...@host[:port]                  a Redis Cluster

`node=host:port`, as often as needed, names further Sentinels or nodes to ask; `sentinelPassword` is the Sentinels' own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

Kind = Literal["server", "sentinel", "cluster"]

_FORMS: dict[str, tuple[Kind, bool]] = {
    "redis": ("server", False),
    "rediss": ("server", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_PARAMETERS: dict[Kind, tuple[str, ...]] = {
    "server": (),
    "sentinel": ("master", "node", "sentinelPassword"),
    "cluster": ("node",),
}


@dataclass(frozen=True, slots=True)
class RedisAddress:
    kind: Kind
    tls: bool
    nodes: tuple[tuple[str, int], ...]
    """(host, port); the first is the one in the URL."""
    username: str | None
    password: str | None
    db: int
    master: str
    sentinel_password: str | None


def parse_address(text: str) -> RedisAddress:
    """ValueError names the part that is wrong, and never the password."""
    parts = urlsplit(text)
    if parts.scheme not in _FORMS:
        forms = ", ".join(f"{form}://" for form in _FORMS)
        raise ValueError(f"the Redis URL begins with {parts.scheme}:// but must with one of {forms}")
    kind, tls = _FORMS[parts.scheme]
    given = parse_qsl(parts.query)
    for name, _ in given:
        if name not in _PARAMETERS[kind]:
            raise ValueError(f"the Redis URL has the parameter {name}, which {parts.scheme}:// does not take")
    values = dict(given)
    if kind == "sentinel" and not values.get("master"):
        raise ValueError("the Redis URL needs the parameter master, the primary's name among the Sentinels")
    path = parts.path.removeprefix("/")
    if path and not path.isdecimal():
        raise ValueError(f"the Redis URL's path is {parts.path} but must be the number of a database")
    db = int(path or 0)
    if kind == "cluster" and db:
        raise ValueError(f"the Redis URL asks for database {db}, but a cluster has only 0")
    port = 26379 if kind == "sentinel" else 6379
    return RedisAddress(
        kind=kind,
        tls=tls,
        nodes=(_node(text, port), *(_node(f"redis://{value}", port) for name, value in given if name == "node")),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        db=db,
        master=values.get("master", ""),
        sentinel_password=values.get("sentinelPassword") or None,
    )


def connect(address: RedisAddress, ca_file: str | None, seconds: float, connect_seconds: float) -> Redis | RedisCluster:
    """A client that connects with its first command; every read and write ends within `seconds`.

    It tries nothing twice by itself: of a command whose first answer was lost, the second answer tells another story,
    as of a report that Redis has taken for a new rank's and then knows.
    """
    shared: dict[str, Any] = {"socket_timeout": seconds, "socket_connect_timeout": connect_seconds}
    shared["retry"] = Retry(NoBackoff(), 0)
    if address.tls:
        shared |= {"ssl": True, "ssl_ca_certs": ca_file}
    user: dict[str, Any] = {"username": address.username, "password": address.password}
    if address.kind == "cluster":
        return RedisCluster(startup_nodes=[ClusterNode(*node) for node in address.nodes], **user, **shared)
    if address.kind == "server":
        host, port = address.nodes[0]
        return Redis(host=host, port=port, db=address.db, **user, **shared)
    own = {**shared, "password": address.sentinel_password}
    sentinels = Sentinel(list(address.nodes), sentinel_kwargs=own, **shared)
    master: Redis = sentinels.master_for(address.master, db=address.db, **user)
    return master


def _node(text: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"the Redis URL's {parts.netloc.rpartition('@')[2]} is not host:port") from None
    if not parts.hostname:
        raise ValueError("the Redis URL names no host")
    return parts.hostname, port or default_port
