"""Configuration of a rank, read once from its environment. A bad value is refused before anything joins."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, get_args

from csps_engine.wire.generated import RankEnvironment, RankRef, Role

T = TypeVar("T")

DEFAULTS: dict[str, str] = {
    "CSPS_CONTROL_PORT": "9000",
    "CSPS_TRANSFER_PORT": "9001",
    "CSPS_REDIS_URL_FILE": "",
    "CSPS_BACKEND": "cpu",
    "CSPS_KERNELS": "auto",
    "CSPS_CUDA_GRAPHS": "disabled",
    "CSPS_DTYPE": "auto",
    "CSPS_TENSOR_PARALLEL": "1",
    "CSPS_SP_MODE": "auto",
    "CSPS_SPARSE_ATTENTION": "disabled",
    "CSPS_SPARSE_MIN_TOKENS": "2048",
    "CSPS_SPARSE_BUDGET_PERCENT": "100",
    "CSPS_SPARSE_QUALITY_FLOOR_PERCENT": "98",
    "CSPS_SPARSE_THRESHOLD_PERCENT": "20",
    "CSPS_KV_BYTES": "",
    "CSPS_KV_TRANSPORT": "tcp",
    "CSPS_LOG_LEVEL": "info",
    "CSPS_COLLECTIVE_TIMEOUT_MS": "10000",
    "CSPS_HEARTBEAT_MS": "400",
    "CSPS_MAX_BATCH": "64",
    "CSPS_DRAIN_GRACE_MS": "25000",
}
"""What an absent or empty variable means. A variable without a default must be set."""

CPU_KV_BYTES = 512 * 2**20

MAX_TENSOR_PARALLEL = 128


class ConfigError(ValueError):
    """One variable, its value and the rule that it breaks."""


@dataclass(frozen=True, slots=True)
class SparseLimits:
    """What sparse attention may do."""

    min_tokens: int
    """Shorter prompts, and in decode shorter requests, are computed exactly."""
    budget: float
    """Prefill: share of other ranks' keys that may be fetched, while the floor holds."""
    quality_floor: float
    """Prefill: mean share of attention covered, below which ranks fetch more."""
    threshold: float
    """Decode: what is left out may be expected to weigh together, of the weightiest block."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Everything a rank is told by its pod. Times in milliseconds, sizes in bytes."""

    namespace: str
    deployment: str
    group: str
    role: Role
    rank: RankRef
    control_token: str
    redis_url_file: str
    """Empty: no Redis."""
    model_path: Path
    model_name: str
    context_length: int
    backend: str
    dtype: str
    sp_mode: str
    sparse: SparseLimits | None
    """None: attention is exact."""
    cuda_graphs: bool
    """Decode steps replay recordings of the dense work between two exchanges."""
    tensor_parallel: int
    """Processes that the rank is, each with a device and a shard of the model."""
    kv_bytes: int | None
    """Of all its processes together. None: what is left on the devices."""
    log_level: str
    kv_transport: str
    """How payloads of KV travel to other ranks."""
    collective_timeout_ms: int
    """A collective that lasts longer means that a peer is hung: the epoch ends."""
    heartbeat_ms: int
    """An idle coordinator ticks this often."""
    max_batch: int
    """Rows of one decode step."""
    drain_grace_ms: int
    """From SIGTERM until running requests are given up."""

    def __repr__(self) -> str:
        return f"EngineConfig({self.rank.rank_id} of {self.namespace}/{self.deployment}, {self.role})"


def read_config(environment: Mapping[str, str]) -> EngineConfig:
    """Read and check all variables; raises ConfigError for the first bad one."""
    read = _Reader(environment)
    tensor_parallel = read.whole("CSPS_TENSOR_PARALLEL", 1, MAX_TENSOR_PARALLEL)
    backend = read.choice("CSPS_BACKEND")
    # Used where a kernel is chosen (kernels.choice), for the process as a whole; refused here, before anything joins.
    read.one_of("CSPS_KERNELS", ("auto", "torch", "triton"))
    kv_bytes = read.optional_whole("CSPS_KV_BYTES", 2**16, 2**50)
    rank = RankRef(
        rank_id=read.text("CSPS_RANK_ID"),
        incarnation=read.text("CSPS_INCARNATION"),
        address=read.address("CSPS_ADDRESS"),
        control_port=read.whole("CSPS_CONTROL_PORT", 1, 65535),
        transfer_port=read.whole("CSPS_TRANSFER_PORT", 1, 65535),
    )
    _check_ports(rank, tensor_parallel)
    heartbeat_ms = read.whole("CSPS_HEARTBEAT_MS", 20, 60_000)
    collective_timeout_ms = read.whole("CSPS_COLLECTIVE_TIMEOUT_MS", 200, 600_000)
    if collective_timeout_ms < 3 * heartbeat_ms:
        raise ConfigError(
            f"CSPS_COLLECTIVE_TIMEOUT_MS={collective_timeout_ms}: must be at least three times "
            f"CSPS_HEARTBEAT_MS ({heartbeat_ms}), or an idle group breaks"
        )
    role: Role = "prefill" if read.choice("CSPS_ROLE") == "prefill" else "decode"
    return EngineConfig(
        namespace=read.text("CSPS_NAMESPACE"),
        deployment=read.text("CSPS_DEPLOYMENT"),
        group=read.text("CSPS_GROUP"),
        role=role,
        rank=rank,
        control_token=read.secret("CSPS_CONTROL_TOKEN_FILE"),
        redis_url_file=read.raw("CSPS_REDIS_URL_FILE"),
        model_path=read.existing("CSPS_MODEL_PATH"),
        model_name=read.text("CSPS_MODEL_NAME"),
        context_length=read.whole("CSPS_CONTEXT_LENGTH", 1, 2**31),
        backend=backend,
        dtype=read.choice("CSPS_DTYPE"),
        sp_mode=read.choice("CSPS_SP_MODE"),
        sparse=_sparse(read),
        cuda_graphs=_cuda_graphs(read, backend, tensor_parallel),
        tensor_parallel=tensor_parallel,
        kv_bytes=CPU_KV_BYTES if kv_bytes is None and backend == "cpu" else kv_bytes,
        log_level=read.choice("CSPS_LOG_LEVEL"),
        kv_transport=read.one_of("CSPS_KV_TRANSPORT", ("tcp", "nixl")),
        collective_timeout_ms=collective_timeout_ms,
        heartbeat_ms=heartbeat_ms,
        max_batch=read.whole("CSPS_MAX_BATCH", 1, 4096),
        drain_grace_ms=read.whole("CSPS_DRAIN_GRACE_MS", 0, 3_600_000),
    )


def _check_ports(rank: RankRef, tensor_parallel: int) -> None:
    """Every process of a rank has a transfer port: the rank's and those above it."""
    first, last = rank.transfer_port, rank.transfer_port + tensor_parallel - 1
    if first == rank.control_port:
        raise ConfigError(f"CSPS_TRANSFER_PORT={first}: must differ from CSPS_CONTROL_PORT")
    if first <= rank.control_port <= last:
        raise ConfigError(f"CSPS_TRANSFER_PORT={first}: the ports to {last} must not include CSPS_CONTROL_PORT")
    if last > 65535:
        raise ConfigError(f"CSPS_TRANSFER_PORT={first}: {tensor_parallel} ports from it on must exist")


def _cuda_graphs(read: _Reader, backend: str, tensor_parallel: int) -> bool:
    wanted = read.one_of("CSPS_CUDA_GRAPHS", ("disabled", "enabled")) == "enabled"
    if wanted and backend != "cuda":
        raise ConfigError(f"CSPS_CUDA_GRAPHS=enabled: needs CSPS_BACKEND=cuda, not {backend}")
    if wanted and tensor_parallel > 1:
        raise ConfigError(
            f"CSPS_CUDA_GRAPHS=enabled: needs CSPS_TENSOR_PARALLEL=1, not {tensor_parallel}: "
            "sums over tensor-parallel processes are not recorded"
        )
    return wanted


def _sparse(read: _Reader) -> SparseLimits | None:
    limits = SparseLimits(
        min_tokens=read.whole("CSPS_SPARSE_MIN_TOKENS", 1, 2**31),
        budget=read.whole("CSPS_SPARSE_BUDGET_PERCENT", 1, 100) / 100,
        quality_floor=read.whole("CSPS_SPARSE_QUALITY_FLOOR_PERCENT", 0, 100) / 100,
        threshold=read.whole("CSPS_SPARSE_THRESHOLD_PERCENT", 1, 100) / 100,
    )
    return limits if read.choice("CSPS_SPARSE_ATTENTION") == "enabled" else None


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def raw(self, name: str) -> str:
        return self._environment.get(name, "").strip() or DEFAULTS.get(name, "")

    def text(self, name: str) -> str:
        value = self.raw(name)
        if not value:
            raise ConfigError(f"{name} is not set: it must be a non-empty string")
        return value

    def whole(self, name: str, low: int, high: int, why: str = "") -> int:
        value = self.text(name)
        number = _parse(int, value)
        if number is None or not low <= number <= high:
            rule = f"must be {low}" if low == high else f"must be a whole number from {low} to {high}"
            raise ConfigError(f"{name}={value}: {rule}" + (f" ({why})" if why else ""))
        return number

    def optional_whole(self, name: str, low: int, high: int) -> int | None:
        return self.whole(name, low, high) if self.raw(name) else None

    def choice(self, name: str) -> str:
        field = RankEnvironment.model_fields[name.removeprefix("CSPS_").lower()]
        return self.one_of(name, get_args(field.annotation))

    def one_of(self, name: str, allowed: tuple[str, ...]) -> str:
        value = self.text(name)
        if value not in allowed:
            raise ConfigError(f"{name}={value}: must be one of {', '.join(allowed)}")
        return value

    def address(self, name: str) -> str:
        value = self.text(name)
        if _parse(ipaddress.ip_address, value) is None:
            raise ConfigError(f"{name}={value}: must be an IP address that other ranks can reach")
        return value

    def existing(self, name: str) -> Path:
        path = Path(self.text(name))
        if not path.exists():
            raise ConfigError(f"{name}={path}: no such file or folder")
        return path

    def secret(self, name: str) -> str:
        path = self.existing(name)
        try:
            secret = path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{name}={path}: cannot be read: {error}") from error
        if not secret:
            raise ConfigError(f"{name}={path}: the file is empty, it must hold the control token")
        return secret


def _parse(parser: Callable[[str], T], value: str) -> T | None:
    try:
        return parser(value)
    except ValueError:
        return None
