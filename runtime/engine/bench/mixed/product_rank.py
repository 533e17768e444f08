"""A rank of the product in a testbed: the engine as in a pod, and a thread that answers the testbed.

python -m bench.mixed.product_rank MODEL FOLDER GROUPS KV_BYTES RANK STORE_HOST
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.emulation.network import address
from bench.emulation.rank import spin
from bench.mixed.control import TOKEN, call
from csps_engine.__main__ import main as run_engine

CONTROL_PORT, TRANSFER_PORT = 7000, 7001
LOAD_DEADLINE_S = 280
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class GroupOf:
    """A run of the testbed's ranks that form one prefill group or the decode pool."""

    name: str
    role: str
    first: int
    ranks: int

    def members(self) -> list[dict[str, Any]]:
        return [
            {
                "rankId": f"{self.name}-{rank - self.first}",
                "incarnation": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.name}-{rank}")),
                "address": address(rank),
                "controlPort": CONTROL_PORT,
                "transferPort": TRANSFER_PORT,
            }
            for rank in range(self.first, self.first + self.ranks)
        ]


def parse_groups(text: str) -> list[GroupOf]:
    """From sizes of the prefill groups and, after a colon, of the pool, as 4,1,1:2. Raises ValueError."""
    prefill, pool = text.split(":")
    sizes = [int(part) for part in prefill.split(",")]
    groups, first = [], 0
    for number, size in enumerate(sizes):
        groups.append(GroupOf(f"prefill-{number}", "prefill", first, size))
        first += size
    groups.append(GroupOf("pool", "decode", first, int(pool)))
    if min([*sizes, int(pool)]) < 1:
        raise ValueError(f"--groups {text}: the sizes must be positive")
    return groups


def environment(group: GroupOf, rank: int, model: str, token_file: Path, kv_bytes: str) -> dict[str, str]:
    me = group.members()[rank - group.first]
    return {
        "CSPS_NAMESPACE": "bench",
        "CSPS_DEPLOYMENT": "mixed",
        "CSPS_GROUP": group.name,
        "CSPS_ROLE": group.role,
        "CSPS_RANK_ID": me["rankId"],
        "CSPS_INCARNATION": me["incarnation"],
        "CSPS_ADDRESS": me["address"],
        "CSPS_CONTROL_PORT": str(CONTROL_PORT),
        "CSPS_TRANSFER_PORT": str(TRANSFER_PORT),
        "CSPS_CONTROL_TOKEN_FILE": str(token_file),
        "CSPS_MODEL_PATH": model,
        "CSPS_MODEL_NAME": "bench",
        "CSPS_CONTEXT_LENGTH": "8192",
        "CSPS_KV_BYTES": kv_bytes,
        "CSPS_COLLECTIVE_TIMEOUT_MS": "60000",
    }


def _serve_testbed(out: int) -> None:
    def say(answer: dict[str, Any]) -> None:
        os.write(out, json.dumps(answer).encode() + b"\n")

    deadline = time.monotonic() + LOAD_DEADLINE_S
    while time.monotonic() < deadline:
        time.sleep(POLL_S)
        try:
            state = call(os.environ["CSPS_ADDRESS"], CONTROL_PORT, "GET", "/v1/state")
        except OSError:
            continue
        if state.get("phase") not in ("loading", "failed"):
            break
    say({"ready": True})
    for line in sys.stdin:
        assert json.loads(line)["task"] == "spin"
        say({"share": spin()})


def main() -> None:
    model, folder, groups_text, kv_bytes, rank_text, _ = sys.argv[1:]
    rank = int(rank_text)
    group = next(g for g in parse_groups(groups_text) if g.first <= rank < g.first + g.ranks)
    token_file = Path(folder) / "token"
    os.environ.update(environment(group, rank, model, token_file, kv_bytes))
    assert token_file.read_text() == TOKEN
    torch.set_num_threads(1)
    # The engine writes its log to stdout, which is the testbed's.
    out = os.dup(1)
    log = os.open(Path(folder) / f"{group.name}-{rank}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    threading.Thread(target=_serve_testbed, args=(out,), daemon=True).start()
    sys.exit(run_engine([]))


if __name__ == "__main__":
    main()
