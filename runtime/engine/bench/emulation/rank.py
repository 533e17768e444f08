"""One rank of a testbed: does what it reads as lines of JSON, and answers each with one.

python -m bench.emulation.rank MODEL RANK STORE_HOST
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from bench.emulation.tasks import TASKS, Dropped
from csps_engine.comm.group import form_mesh
from csps_engine.comm.local import LocalMesh
from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import PrefillJob
from csps_engine.model.llama import Llama
from csps_engine.pipeline.prefill import PrefillRunner

STORE_PORT = 29500
MESH_TIMEOUT = timedelta(minutes=9)
SPIN_SECONDS = 1.0


class Rank:
    """Keeps one mesh for each number of ranks that took part in a request."""

    def __init__(self, model: Llama, rank: int, store_host: str) -> None:
        self._model = model
        self._rank = rank
        self._store_host = store_host
        self._meshes: dict[int, Mesh] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do the request's task together with the ranks 0 … ranks-1, or `apart`: each for itself."""
        if request["task"] == "spin":
            return {"share": spin()}
        mesh = LocalMesh() if request.get("apart", False) else self._mesh(int(request["ranks"]))
        mesh.barrier()
        return TASKS[request["task"]](self._model, mesh, request)

    def _mesh(self, ranks: int) -> Mesh:
        if ranks not in self._meshes:
            self._meshes[ranks] = LocalMesh() if ranks == 1 else self._form(ranks)
        return self._meshes[ranks]

    def _form(self, ranks: int) -> Mesh:
        port, hosts = STORE_PORT + ranks, self._rank == 0
        store = dist.TCPStore(self._store_host, port, None, hosts, MESH_TIMEOUT, False, use_libuv=False)
        return form_mesh(store, self._rank, ranks, MESH_TIMEOUT)


def spin() -> float:
    """CPU time over wall clock while a rank computes all it can."""
    wall, cpu = time.perf_counter(), time.process_time()
    a = torch.ones(256, 256)
    while time.perf_counter() - wall < SPIN_SECONDS:
        a @ a
    return (time.process_time() - cpu) / (time.perf_counter() - wall)


def _requests() -> Iterator[dict[str, Any]]:
    for line in sys.stdin:
        yield json.loads(line)


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    model_file, rank, store_host = sys.argv[1:]
    torch.set_num_threads(1)
    model: Llama = torch.load(model_file, mmap=True, weights_only=False)
    # Brings the file's pages in, so that the first measurement does not.
    PrefillRunner(model, LocalMesh()).run(PrefillJob("warm", tuple(range(1, 65))), Dropped())
    _say({"ready": True})
    served = Rank(model, int(rank), store_host)
    for request in _requests():
        _say(served.answer(request))


if __name__ == "__main__":
    main()
