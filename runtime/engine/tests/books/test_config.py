from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rank_environment import rank_environment

from csps_engine.config import DEFAULTS, ConfigError, read_config
from csps_engine.wire.generated import RankEnvironment

ENGINE = Path(__file__).parents[2]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return rank_environment(tmp_path)


def test_the_rest_has_defaults(environment: dict[str, str]) -> None:
    config = read_config(environment)
    assert (config.rank.control_port, config.rank.transfer_port) == (9000, 9001)
    assert (config.kv_bytes, config.control_token) == (512 * 2**20, "secret")
    assert "secret" not in repr(config)


def test_every_variable_that_the_operator_sets_is_read(environment: dict[str, str]) -> None:
    declared = {field.alias for field in RankEnvironment.model_fields.values()}
    assert declared <= set(environment) | set(DEFAULTS)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("CSPS_NAMESPACE", "", "is not set"),
        ("CSPS_ROLE", "both", "must be one of prefill, decode"),
        ("CSPS_CONTROL_PORT", "70000", "must be a whole number from 1 to 65535"),
        ("CSPS_TRANSFER_PORT", "9000", "must differ from CSPS_CONTROL_PORT"),
        ("CSPS_CONTEXT_LENGTH", "8k", "must be a whole number"),
        ("CSPS_ADDRESS", "chat-decode-0", "must be an IP address"),
        ("CSPS_TENSOR_PARALLEL", "0", "must be a whole number from 1 to 128"),
        ("CSPS_MODEL_PATH", "/no/such/model", "no such file or folder"),
        ("CSPS_CONTROL_TOKEN_FILE", "/no/such/token", "no such file or folder"),
        ("CSPS_KV_BYTES", "1", "must be a whole number"),
        ("CSPS_HEARTBEAT_MS", "5000", "must be at least three times"),
        ("CSPS_CUDA_GRAPHS", "enabled", "needs CSPS_BACKEND=cuda, not cpu"),
        ("CSPS_CUDA_GRAPHS", "yes", "must be one of disabled, enabled"),
    ],
)
def test_a_bad_value_is_named_with_its_rule(environment: dict[str, str], name: str, value: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule) as refused:
        read_config({**environment, name: value})
    assert "CSPS_" in str(refused.value)


def test_every_process_of_a_rank_has_a_transfer_port(environment: dict[str, str]) -> None:
    cut = {**environment, "CSPS_TENSOR_PARALLEL": "4", "CSPS_CONTROL_PORT": "9005"}
    assert read_config(cut).tensor_parallel == 4
    with pytest.raises(ConfigError, match="CSPS_TRANSFER_PORT=9002: the ports to 9005 must not include"):
        read_config({**cut, "CSPS_TRANSFER_PORT": "9002"})
    with pytest.raises(ConfigError, match="CSPS_TRANSFER_PORT=65533: 4 ports from it on must exist"):
        read_config({**cut, "CSPS_TRANSFER_PORT": "65533"})


def test_an_empty_token_file_is_refused(environment: dict[str, str]) -> None:
    Path(environment["CSPS_CONTROL_TOKEN_FILE"]).write_text(" \n")
    with pytest.raises(ConfigError, match="the file is empty"):
        read_config(environment)


def run_engine(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "csps_engine", *arguments],
        cwd=ENGINE,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_process_ends_with_status_2_and_one_sentence(environment: dict[str, str]) -> None:
    ended = run_engine([], {**environment, "CSPS_TENSOR_PARALLEL": "4x"})
    assert ended.returncode == 2
    assert ended.stderr.startswith("csps_engine: CSPS_TENSOR_PARALLEL=4x: must be a whole number")
    assert len(ended.stderr.splitlines()) == 1


def test_help_names_every_variable() -> None:
    shown = run_engine(["--help"], {})
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in DEFAULTS)


def test_graphs_are_recorded_where_they_are_asked_for_on_a_gpu_and_no_sums_lie_between(
    environment: dict[str, str],
) -> None:
    assert not read_config(environment).cuda_graphs
    wanted = {**environment, "CSPS_CUDA_GRAPHS": "enabled", "CSPS_BACKEND": "cuda"}
    assert read_config(wanted).cuda_graphs
    with pytest.raises(ConfigError, match=r"CSPS_CUDA_GRAPHS=enabled: needs CSPS_TENSOR_PARALLEL=1, not 2"):
        read_config({**wanted, "CSPS_TENSOR_PARALLEL": "2"})
