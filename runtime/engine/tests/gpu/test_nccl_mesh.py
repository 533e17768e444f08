"""The mesh over NCCL, one rank a GPU and a thread a rank. Needs two GPUs or more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar

import pytest
import torch
import torch.distributed as dist

from csps_engine.comm.group import form_mesh
from csps_engine.comm.mesh import Mesh, MeshBroken

Answer = TypeVar("Answer")
SIZE = torch.cuda.device_count()


def on_gpus(work: Callable[[Mesh], Answer], timeout_s: float = 60) -> list[Answer]:
    """What `work` answers on each rank of a fresh mesh over all GPUs."""
    store = dist.HashStore()

    def one(rank: int) -> Answer:
        torch.cuda.set_device(rank)
        mesh = form_mesh(store, rank, SIZE, timedelta(seconds=timeout_s), f"cuda:{rank}")
        try:
            return work(mesh)
        finally:
            mesh.abort()

    with ThreadPoolExecutor(SIZE) as pool:
        return [future.result() for future in [pool.submit(one, rank) for rank in range(SIZE)]]


def test_all_to_all_carries_uneven_and_empty_parts() -> None:
    def rows(source: int, target: int) -> int:
        return (source + 2 * target) % 3

    def exchange(mesh: Mesh) -> list[list[float]]:
        sends = [rows(mesh.rank, peer) for peer in range(SIZE)]
        receives = [rows(peer, mesh.rank) for peer in range(SIZE)]
        parts = [torch.full((n, 2), mesh.rank * 10.0 + peer) for peer, n in enumerate(sends)]
        out = torch.empty(sum(receives), 2, device=mesh.device)
        mesh.all_to_all_single(out, torch.cat(parts).to(mesh.device), receives, sends).wait()
        answer: list[list[float]] = out.tolist()
        return answer

    for rank, got in enumerate(on_gpus(exchange)):
        assert got == [[peer * 10.0 + rank] * 2 for peer in range(SIZE) for _ in range(rows(peer, rank))]


def test_all_gather_lists_every_rank_in_order() -> None:
    def gather(mesh: Mesh) -> list[list[float]]:
        out = torch.empty(SIZE, 3, device=mesh.device)
        mesh.all_gather_into(out, torch.full((3,), float(mesh.rank), device=mesh.device)).wait()
        mesh.barrier()
        answer: list[list[float]] = out.tolist()
        return answer

    assert on_gpus(gather) == [[[float(rank)] * 3 for rank in range(SIZE)]] * SIZE


def test_a_second_epoch_forms_on_the_devices_of_the_first() -> None:
    for _ in range(2):
        assert on_gpus(lambda mesh: mesh.broadcast_bytes(b"x" if mesh.rank == 0 else None, 0)) == [b"x"] * SIZE


def test_an_abort_ends_the_mesh_for_its_own_rank_at_once() -> None:
    ended = threading.Barrier(SIZE)

    def stop(mesh: Mesh) -> None:
        ended.wait(30)
        mesh.abort()
        with pytest.raises(MeshBroken):
            mesh.barrier()

    on_gpus(stop)
