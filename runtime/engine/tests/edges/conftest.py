from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from publishing import RedisProcess

from csps_engine.config import EngineConfig, read_config


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    process = RedisProcess(tmp_path)
    yield process
    process.client.close()
    process.stop()


@pytest.fixture
def config(tmp_path: Path, redis: RedisProcess) -> EngineConfig:
    (tmp_path / "token").write_text("secret")
    (tmp_path / "url").write_text(f"redis://127.0.0.1:{redis.port}/0\n")
    return read_config(
        {
            "CSPS_NAMESPACE": "ns",
            "CSPS_DEPLOYMENT": "chat",
            "CSPS_GROUP": "chat-decode",
            "CSPS_ROLE": "decode",
            "CSPS_RANK_ID": "chat-decode-0",
            "CSPS_INCARNATION": "uid",
            "CSPS_ADDRESS": "127.0.0.1",
            "CSPS_CONTROL_TOKEN_FILE": str(tmp_path / "token"),
            "CSPS_REDIS_URL_FILE": str(tmp_path / "url"),
            "CSPS_MODEL_PATH": str(tmp_path),
            "CSPS_MODEL_NAME": "m",
            "CSPS_CONTEXT_LENGTH": "100",
        }
    )
