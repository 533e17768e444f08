from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rank_environment import rank_environment
from redis_process import RedisProcess, running_redis

from csps_engine.config import EngineConfig, read_config


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    with running_redis(tmp_path) as process:
        yield process


@pytest.fixture
def config(tmp_path: Path, redis: RedisProcess) -> EngineConfig:
    changes = {"CSPS_ADDRESS": "127.0.0.1", "CSPS_CONTEXT_LENGTH": "100", "CSPS_REDIS_URL_FILE": str(redis.url_file())}
    return read_config(rank_environment(tmp_path, **changes))
