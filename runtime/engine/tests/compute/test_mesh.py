from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from rank_threads import on_ranks

from csps_engine.comm.group import FRAME_BYTES, form_mesh
from csps_engine.comm.local import LocalMesh
from csps_engine.comm.mesh import Mesh, MeshBroken

SIZES = [1, 2, 3]
FORMING_SECONDS = 6
"""A time-out bounds the forming of a mesh too, which takes a busy machine a while."""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("length", [0, 1, FRAME_BYTES - 8, FRAME_BYTES - 7, 3 * FRAME_BYTES])
def test_a_broadcast_brings_every_byte_to_every_rank(size: int, length: int) -> None:
    payload = bytes(i % 251 for i in range(length))

    def broadcast_from_each(mesh: Mesh) -> list[bytes]:
        return [mesh.broadcast_bytes(payload if mesh.rank == source else None, source) for source in range(size)]

    assert on_ranks(size, broadcast_from_each) == [[payload] * size] * size


@pytest.mark.parametrize("size", SIZES)
def test_all_to_all_carries_uneven_and_empty_parts(size: int) -> None:
    def rows(source: int, target: int) -> int:
        return (source + 2 * target) % 3

    def exchange(mesh: Mesh) -> list[list[float]]:
        sends = [rows(mesh.rank, peer) for peer in range(size)]
        receives = [rows(peer, mesh.rank) for peer in range(size)]
        inp = torch.cat([torch.full((n, 2), mesh.rank * 10.0 + peer) for peer, n in enumerate(sends)])
        out = torch.empty(sum(receives), 2)
        mesh.all_to_all_single(out, inp, receives, sends).wait()
        assert mesh.sent_bytes == (sum(sends) - sends[mesh.rank]) * 8
        return out.tolist()

    for rank, got in enumerate(on_ranks(size, exchange)):
        assert got == [[peer * 10.0 + rank] * 2 for peer in range(size) for _ in range(rows(peer, rank))]


@pytest.mark.parametrize("size", SIZES)
def test_all_gather_lists_every_rank_in_order(size: int) -> None:
    def gather(mesh: Mesh) -> list[list[float]]:
        out = torch.empty(size, 3)
        mesh.all_gather_into(out, torch.full((3,), float(mesh.rank))).wait()
        mesh.barrier()
        return out.tolist()

    assert on_ranks(size, gather) == [[[float(rank)] * 3 for rank in range(size)]] * size


@pytest.mark.parametrize("size", SIZES)
def test_only_the_source_may_give_a_payload(size: int) -> None:
    with pytest.raises(ValueError, match=r"source"):
        on_ranks(size, lambda mesh: mesh.broadcast_bytes(b"x", 1 if mesh.rank == 0 else 0))


def test_a_peer_that_leaves_breaks_the_mesh_of_the_others() -> None:
    def leave_or_wait(mesh: Mesh) -> str:
        mesh.barrier()
        if mesh.rank == 1:
            mesh.abort()
            return "left"
        with pytest.raises(MeshBroken, match=f"rank {mesh.rank} of 3"):
            mesh.barrier()
        return "noticed"

    assert on_ranks(3, leave_or_wait, timeout_s=60) == ["noticed", "left", "noticed"]


def test_a_silent_peer_breaks_the_mesh_after_the_timeout() -> None:
    over = threading.Event()

    def be_silent_or_wait(mesh: Mesh) -> float:
        if mesh.rank == 1:
            over.wait(120)
            return 0.0
        started = time.monotonic()
        with pytest.raises(MeshBroken):
            mesh.broadcast_bytes(None, 1)
        over.set()
        return time.monotonic() - started

    waited, _ = on_ranks(2, be_silent_or_wait, timeout_s=FORMING_SECONDS)
    assert waited < 90


@pytest.mark.parametrize("ending", ["silence", "abort"])
def test_a_rank_waiting_for_tensors_learns_that_they_will_not_come(ending: str) -> None:
    over = threading.Event()

    def keep_back_or_wait(mesh: Mesh) -> str:
        mesh.barrier()
        if mesh.rank == 1:
            if ending == "abort":
                mesh.abort()
            over.wait(120)
            return "kept back"
        sent = torch.zeros(2, 1000)
        pending = mesh.all_to_all_single(torch.empty(2, 1000), sent, [1, 1], [1, 1])
        with pytest.raises(MeshBroken, match="rank 0 of 2"):
            pending.wait()
        over.set()
        return "told"

    assert on_ranks(2, keep_back_or_wait, timeout_s=FORMING_SECONDS) == [
        "told",
        "kept back",
    ]


def test_of_several_exchanges_under_way_each_brings_its_own_rows() -> None:
    def exchange(mesh: Mesh) -> bool:
        outs = [torch.empty(3, 2) for _ in range(5)]
        pending = [
            mesh.all_to_all_single(out, torch.full((3, 2), 10.0 * n + mesh.rank), [1] * 3, [1] * 3)
            for n, out in enumerate(outs)
        ]
        for each in pending:
            each.wait()
        return all(out[peer, 0] == 10.0 * n + peer for n, out in enumerate(outs) for peer in range(3))

    assert on_ranks(3, exchange) == [True] * 3


def test_ranks_that_do_not_come_in_time_break_the_forming() -> None:
    with pytest.raises(MeshBroken):
        form_mesh(dist.HashStore(), 0, 2, timedelta(seconds=1))


def test_an_aborted_mesh_refuses_at_once() -> None:
    def abort_then_call(mesh: Mesh) -> bool:
        mesh.barrier()
        mesh.abort()
        with pytest.raises(MeshBroken, match="aborted"):
            mesh.broadcast_bytes(b"", mesh.rank)
        return True

    assert on_ranks(2, abort_then_call) == [True, True]
    local = LocalMesh()
    local.abort()
    with pytest.raises(MeshBroken):
        local.barrier()


def test_a_second_mesh_forms_over_the_same_store_under_another_prefix() -> None:
    store = dist.HashStore()
    for epoch in (1, 2):
        meshes: list[Mesh | None] = [None, None]

        def join(rank: int, prefix: str, into: list[Mesh | None]) -> None:
            into[rank] = form_mesh(dist.PrefixStore(prefix, store), rank, 2, timedelta(seconds=60))

        threads = [threading.Thread(target=join, args=(rank, f"epoch {epoch}", meshes)) for rank in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
        assert [mesh is not None and mesh.size for mesh in meshes] == [2, 2]
        for mesh in meshes:
            assert mesh is not None
            mesh.abort()
