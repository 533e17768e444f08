"""The two all-to-alls of a decode layer: queries (and the new K, V) out, partial results back."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from csps_engine.comm.mesh import Mesh, Pending
from csps_engine.pipeline.routes import Routes


class Visitors(NamedTuple):
    """What other homes sent to this rank, by home and then row."""

    q: Tensor  # [n, H, D]
    k: Tensor  # [m, K, D]
    v: Tensor  # [m, K, D]


class Sent(NamedTuple):
    """Queries under way."""

    arriving: Tensor
    arrival: Pending


class DecodeExchange:
    """Packs and unpacks by one step's routes; the same for every layer. Nothing is sent that is not needed."""

    def __init__(self, routes: Routes, mesh: Mesh, heads: int, kv_heads: int, head_dim: int) -> None:
        self._mesh = mesh
        self._routes = routes
        self._heads, self._kv_heads, self._head_dim = heads, kv_heads, head_dim
        self._q_rows = [_index(rows, mesh) for rows in routes.send_q]
        self._kv_rows = [_index(rows, mesh) for rows in routes.send_kv]
        self._send_splits = self._elements(routes.send_q, routes.send_kv)
        self._receive_splits = self._elements(routes.receive_q, routes.receive_kv)

    def send(self, q: Tensor, k: Tensor, v: Tensor) -> Sent:
        """Start sending rows of q [n, H, D] to their holders and of k, v [n, K, D] to the tails' owners."""
        kv = torch.cat([k, v], 1)
        parts = []
        for q_rows, kv_rows in zip(self._q_rows, self._kv_rows, strict=True):
            parts += [q[q_rows].flatten(), kv[kv_rows].flatten()]
        arriving = q.new_empty(sum(self._receive_splits))
        arrival = self._mesh.all_to_all_single(arriving, torch.cat(parts), self._receive_splits, self._send_splits)
        return Sent(arriving, arrival)

    def receive(self, sent: Sent) -> Visitors:
        """Wait for the other homes' rows."""
        sent.arrival.wait()
        queries, kvs = [], []
        for part, rows in zip(sent.arriving.split(self._receive_splits), self._routes.receive_q, strict=True):
            q, kv = part.tensor_split([len(rows) * self._heads * self._head_dim])
            queries.append(q.view(-1, self._heads, self._head_dim))
            kvs.append(kv.view(-1, 2 * self._kv_heads, self._head_dim))
        k, v = torch.cat(kvs).chunk(2, 1)
        return Visitors(torch.cat(queries), k, v)

    def give_back(self, results: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return results [visitors, H, D+1], fp32, to their homes.

        Answers, by holder, own rows' numbers and their results.
        """
        home_rows = [len(rows) for rows in self._routes.receive_q]
        own_rows = [len(rows) for rows in self._q_rows]
        back = results.new_empty(sum(own_rows), *results.shape[1:])
        self._mesh.all_to_all_single(back, results, own_rows, home_rows).wait()
        return list(zip(self._q_rows, back.split(own_rows), strict=True))

    def _elements(self, q_rows: tuple[tuple[int, ...], ...], kv_rows: tuple[tuple[int, ...], ...]) -> list[int]:
        return [
            (len(q) * self._heads + len(kv) * 2 * self._kv_heads) * self._head_dim
            for q, kv in zip(q_rows, kv_rows, strict=True)
        ]


def _index(rows: tuple[int, ...], mesh: Mesh) -> Tensor:
    return torch.tensor(rows, dtype=torch.long, device=mesh.device)
