"""The reader of Redis addresses is held to the same file as that of the operator and the gateway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster

from csps_engine.state.address import RedisAddress, connect, parse_address

GOLDEN = json.loads((Path(__file__).parents[3] / "state" / "golden" / "addresses.json").read_text("utf-8"))


@pytest.mark.parametrize("case", GOLDEN["read"], ids=lambda case: str(case["url"]))
def test_an_address_is_read(case: dict[str, Any]) -> None:
    assert parse_address(case["url"]) == RedisAddress(
        kind=case["kind"],
        tls=case["tls"],
        nodes=tuple((host, port) for host, port in case["nodes"]),
        username=case.get("username"),
        password=case.get("password"),
        db=case.get("db", 0),
        master=case.get("master", ""),
        sentinel_password=case.get("sentinelPassword"),
    )


@pytest.mark.parametrize("case", GOLDEN["refused"], ids=lambda case: str(case["url"]))
def test_an_address_is_refused_without_its_password(case: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the Redis URL") as refusal:
        parse_address(case["url"])
    assert case["because"] in str(refusal.value)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("case", GOLDEN["read"], ids=lambda case: str(case["url"]))
def test_every_kind_of_address_has_its_client(case: dict[str, Any]) -> None:
    client = connect(parse_address(case["url"]), None, 0.2, 2.0)
    assert isinstance(client, RedisCluster if case["kind"] == "cluster" else Redis)
