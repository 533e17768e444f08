from __future__ import annotations

import pytest
import torch
from rank_threads import on_ranks

from csps_engine.comm.local import LocalMesh
from csps_engine.comm.mesh import Mesh, MeshBroken
from csps_engine.comm.part import PartMesh, part_of

PARTS = [(0, 2), (1,), (3, 4, 5)]


def part_with(mesh: Mesh) -> Mesh:
    return part_of(mesh, next(part for part in PARTS if mesh.rank in part))


def gathered(mesh: Mesh, number: float) -> list[float]:
    out = torch.empty(mesh.size, 2)
    mesh.all_gather_into(out, torch.full((2,), number)).wait()
    assert out[:, 0].tolist() == out[:, 1].tolist()
    return out[:, 0].tolist()


def test_parts_exchange_as_often_as_each_likes_and_then_all_together() -> None:
    def work(mesh: Mesh) -> list[list[float]]:
        part, whole = part_with(mesh), [float(rank) for rank in range(6)]
        said = []
        for round_number in range(3):
            for turn in range(1 + 4 * mesh.rank if part.size == 1 else 7 * part.size):
                said.append(gathered(part, 100.0 * turn + mesh.rank))
            assert gathered(mesh, float(mesh.rank)) == whole, round_number
        return said

    for rank, said in enumerate(on_ranks(6, work)):
        part = next(part for part in PARTS if rank in part)
        turns = 1 + 4 * rank if len(part) == 1 else 7 * len(part)
        assert said == [[100.0 * turn + member for member in part] for turn in range(turns)] * 3


def test_a_part_carries_uneven_rows_and_bytes() -> None:
    def work(mesh: Mesh) -> tuple[list[float], bytes, bytes]:
        part = part_with(mesh)
        sends = [peer + 1 for peer in range(part.size)]
        receives = [part.rank + 1] * part.size
        inp = torch.cat([torch.full((rows, 2), 10.0 * mesh.rank + peer) for peer, rows in enumerate(sends)])
        out = torch.empty(sum(receives), 2)
        part.all_to_all_single(out, inp, receives, sends).wait()
        part.barrier()
        told = part.broadcast_bytes(bytes([mesh.rank]) * 5 if part.rank == 0 else None, 0)
        nothing = part.broadcast_bytes(b"" if part.rank == part.size - 1 else None, part.size - 1)
        return out[:, 0].tolist(), told, nothing

    for rank, (rows, told, nothing) in enumerate(on_ranks(6, work)):
        part = next(part for part in PARTS if rank in part)
        place = part.index(rank)
        assert rows == [10.0 * member + place for member in part for _ in range(place + 1)]
        assert (told, nothing) == (bytes([part[0]]) * 5, b"")


def test_a_part_of_one_rank_raises_when_the_mesh_is_broken() -> None:
    def work(mesh: Mesh) -> bool:
        alone = part_of(mesh, [mesh.rank])
        alone.barrier()
        mesh.barrier()
        alone.abort()
        with pytest.raises(MeshBroken, match="aborted"):
            alone.barrier()
        return True

    assert on_ranks(2, work) == [True, True]


@pytest.mark.parametrize("members", [(), (1,), (0, 0), (1, 0)])
def test_ranks_that_are_no_part_are_refused(members: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no part"):
        PartMesh(LocalMesh(), members)
