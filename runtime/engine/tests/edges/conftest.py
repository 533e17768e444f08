from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rank_environment import rank_environment
from redis_process import RedisProcess

from csps_engine.config import EngineConfig, read_config


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    process = RedisProcess(tmp_path)
    yield process
    process.client.close()
    process.stop()


@pytest.fixture
def config(tmp_path: Path, redis: RedisProcess) -> EngineConfig:
    url = tmp_path / "url"
    url.write_text(f"redis://127.0.0.1:{redis.port}/0\n")
    changes = {"CSPS_ADDRESS": "127.0.0.1", "CSPS_CONTEXT_LENGTH": "100", "CSPS_REDIS_URL_FILE": str(url)}
    return read_config(rank_environment(tmp_path, **changes))
