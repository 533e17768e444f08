"""How soon a rank serves that starts from nothing, and the memory that it then takes: a real process, on loopback."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from csps_engine.model.load import load_model
from csps_engine.model.weights import WeightForm

ENGINE = Path(__file__).parents[1]
DEADLINE_S = 240
KV_BYTES = 512 * 2**20
POLL_S = 0.05
TOKEN = "token-of-the-benchmark"


@dataclass(frozen=True, slots=True)
class StandingStart:
    """One start of a group of one rank."""

    role: str
    ready_s: float
    """From the start of the process until it serves in an epoch."""
    cpu_s: float
    resident_bytes: int
    weight_bytes: int
    kv_bytes: int
    """Reserved for KV; touched, and so resident, only as far as it was used."""

    @staticmethod
    def measure(model_file: Path, role: str) -> StandingStart:
        """Raises RuntimeError when the rank ends, or does not serve in time."""
        form = WeightForm(packed=role == "decode")
        weight_bytes = load_model(model_file, form).weights.matrix_bytes()
        with tempfile.TemporaryDirectory() as folder:
            rank = _Rank(Path(folder), model_file, role)
            try:
                ready_s, cpu_s = rank.serve()
                return StandingStart(role, ready_s, cpu_s, rank.resident_bytes(), weight_bytes, KV_BYTES)
            finally:
                rank.close()

    @property
    def beyond_bytes(self) -> int:
        """Resident memory beyond the weights; no KV was written."""
        return self.resident_bytes - self.weight_bytes

    def told(self) -> dict[str, Any]:
        return {**asdict(self), "beyond_bytes": self.beyond_bytes}

    def line(self) -> str:
        return (
            f"{self.role} rank: ready after {self.ready_s:.1f} s ({self.cpu_s:.1f} s of CPU); "
            f"{self.resident_bytes / 1e6:.0f} MB resident before any KV is written, "
            f"{self.beyond_bytes / 1e6:.0f} MB beyond its weights"
        )


class _Rank:
    def __init__(self, folder: Path, model_file: Path, role: str) -> None:
        control, transfer = _free_port(), _free_port()
        (folder / "token").write_text(TOKEN)
        self._role, self._control = role, control
        self._ref = {"rankId": "bench-0", "incarnation": str(uuid.uuid4()), "address": "127.0.0.1"}
        self._ref |= {"controlPort": control, "transferPort": transfer}
        environment = {
            "CSPS_NAMESPACE": "bench",
            "CSPS_DEPLOYMENT": "bench",
            "CSPS_GROUP": "bench",
            "CSPS_ROLE": role,
            "CSPS_RANK_ID": "bench-0",
            "CSPS_INCARNATION": self._ref["incarnation"],
            "CSPS_ADDRESS": "127.0.0.1",
            "CSPS_CONTROL_PORT": str(control),
            "CSPS_TRANSFER_PORT": str(transfer),
            "CSPS_CONTROL_TOKEN_FILE": str(folder / "token"),
            "CSPS_MODEL_PATH": str(model_file),
            "CSPS_MODEL_NAME": "bench",
            "CSPS_CONTEXT_LENGTH": "8192",
            "CSPS_KV_BYTES": str(KV_BYTES),
            "PYTHONPATH": str(ENGINE),
        }
        self._log = folder / "log"
        self._began = time.monotonic()
        with self._log.open("w") as log:
            command = [sys.executable, "-m", "csps_engine"]
            self._process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)

    def serve(self) -> tuple[float, float]:
        """Seconds of wall clock and of CPU until it serves, the roster pushed as soon as it takes one."""
        roster = {"group": "bench", "role": self._role, "fence": 1, "generation": 1, "minSize": 1}
        pushed = False
        while time.monotonic() - self._began < DEADLINE_S:
            if self._process.poll() is not None:
                raise RuntimeError(f"the rank ended:\n{self._log.read_text()[-2000:]}")
            try:
                pushed = pushed or self._call("POST", "/v1/roster", {**roster, "members": [self._ref]}) is not None
                if pushed and (self._call("GET", "/v1/state", None) or {}).get("phase") == "serving":
                    return time.monotonic() - self._began, self._cpu_s()
            except OSError:
                pass
            time.sleep(POLL_S)
        raise RuntimeError(f"the rank does not serve after {DEADLINE_S} s:\n{self._log.read_text()[-2000:]}")

    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _cpu_s(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _call(self, method: str, path: str, message: dict[str, Any] | None) -> dict[str, Any] | None:
        """The answer, or None when it was refused."""
        connection = http.client.HTTPConnection("127.0.0.1", self._control, timeout=10)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if message is None else json.dumps(message), headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        return json.loads(body) if answer.status == 200 else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
