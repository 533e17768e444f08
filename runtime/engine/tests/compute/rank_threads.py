"""Ranks as threads of one process, so that they share one set of weights."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar

import torch.distributed as dist

from csps_engine.comm.group import form_mesh
from csps_engine.comm.mesh import Mesh

Answer = TypeVar("Answer")


def keep_to_one_core() -> None:
    """Where every core has a worker of the tests, this thread and those that it starts stay on its worker's core.

    Ranks hand the interpreter's lock to each other at every operation, which is dear from core to core.
    """
    cores = sorted(os.sched_getaffinity(0))
    if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) >= len(cores):
        worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        os.sched_setaffinity(0, {cores[worker % len(cores)]})


def on_ranks(size: int, work: Callable[[Mesh], Answer], timeout_s: float = 600) -> list[Answer]:
    """What `work` answers on each rank of a fresh mesh. The first failure breaks the mesh and is raised."""
    store = dist.HashStore()

    def one(rank: int) -> Answer:
        mesh = form_mesh(store, rank, size, timedelta(seconds=timeout_s))
        try:
            return work(mesh)
        except BaseException:
            mesh.abort()
            raise

    with ThreadPoolExecutor(size, initializer=keep_to_one_core) as pool:
        futures = [pool.submit(one, rank) for rank in range(size)]
        return [future.result() for future in futures]
