"""A share of a core for each rank: one cgroup with a CPU quota, version 1 or 2."""

from __future__ import annotations

from pathlib import Path

from bench.emulation.names import own_name, stale

PERIOD_US = 20_000
V1_SHARES, V2_WEIGHT = 262_144, 10_000
"""The largest there are: what else runs on the machine gives way, so that a rank gets its quota."""
V1, V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")


class QuotaError(RuntimeError):
    """This machine lets no CPU quota be set."""


class CpuQuotas:
    """Makes cgroups and removes them."""

    def __init__(self) -> None:
        self._version2 = "cpu" in _read(V2 / "cgroup.controllers").split()
        if self._version2 and "cpu" not in _read(V2 / "cgroup.subtree_control").split():
            (V2 / "cgroup.subtree_control").write_text("+cpu")
        self._root = V2 if self._version2 else V1
        if not self._version2 and not (V1 / "cpu.cfs_quota_us").exists() and not (V1 / "tasks").exists():
            raise QuotaError(f"neither {V2}/cgroup.controllers names cpu nor is there a CPU controller at {V1}")
        self._made: list[Path] = []

    def make(self, part: str) -> Path:
        """A cgroup that goes before all else on the machine, without a quota yet."""
        path = self._root / own_name(part)
        path.mkdir()
        self._made.append(path)
        if self._version2:
            (path / "cpu.weight").write_text(str(V2_WEIGHT))
        else:
            (path / "cpu.shares").write_text(str(V1_SHARES))
        return path

    def limit(self, path: Path, cores: float) -> None:
        """From now on the cgroup may use `cores` cores."""
        quota_us = round(cores * PERIOD_US)
        if self._version2:
            (path / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
        else:
            (path / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (path / "cpu.cfs_quota_us").write_text(str(quota_us))

    def remove(self) -> None:
        """Remove what was made; its processes must have ended."""
        while self._made:
            self._made.pop().rmdir()

    def remove_stale(self) -> list[str]:
        """Remove what dead testbeds left; says what."""
        names = stale(path.name for path in self._root.iterdir() if path.is_dir())
        for name in names:
            for pid in _read(self._root / name / "cgroup.procs").split():
                (self._root / "cgroup.procs").write_text(pid)
            (self._root / name).rmdir()
        return names


def confine(cgroup: Path, pid: int) -> None:
    """Move a process, all its threads, into a cgroup."""
    (cgroup / "cgroup.procs").write_text(str(pid))


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
