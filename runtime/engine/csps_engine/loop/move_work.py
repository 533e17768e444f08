"""A member's part in moves: the source copies in the background, the tail is exchanged in the commit's tick.

Every member knows every move, for ticks tell all of them the same; so the collectives here are called alike by all.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from csps_engine.comm.mesh import Mesh
from csps_engine.kv.pool import KvPool
from csps_engine.loop.epoch_work import Epoch
from csps_engine.loop.gathering import gather_numbers, smallest
from csps_engine.scheduler.move import MoveCommit, MoveProgress, MoveTicket, TailPage, tail_pages
from csps_engine.scheduler.replica import Replica
from csps_engine.scheduler.ticks import Tick
from csps_engine.transfer.errand import Errand
from csps_engine.transfer.page_copy import CopyRoute, PageCopy
from csps_engine.transfer.transport import Access

log = logging.getLogger(__name__)


class MoveWork:
    """The engine thread owns it."""

    def __init__(self, pool: KvPool, replica: Replica, access: Access) -> None:
        self._pool = pool
        self._replica = replica
        self._access = access
        self._epoch: Epoch | None = None
        self._mesh: Mesh | None = None
        self._copies: dict[str, tuple[MoveTicket, PageCopy]] = {}

    def start_epoch(self, epoch: Epoch, mesh: Mesh) -> None:
        self._epoch, self._mesh = epoch, mesh

    def end_epoch(self) -> None:
        self._stop(list(self._copies))
        self._epoch = self._mesh = None

    def follow(self, tick: Tick) -> None:
        """After the replica applied the tick: begin and stop copies, and let them follow the answers."""
        self._stop(tick.dropped)
        for ticket in tick.tickets:
            if self._mesh is not None and ticket.source == self._mesh.rank and ticket.slots:
                self._copies[ticket.move_id] = (ticket, self._copy(ticket))
        if self._copies and tick.rows:
            tokens = {row.request_id: row.position for row in tick.rows}
            for ticket, copy in self._copies.values():
                copy.advance(tokens.get(ticket.request_id, 0))

    def progress(self) -> dict[str, MoveProgress]:
        """How far every move's source is; collective."""
        mesh, tickets = self._mesh, self._replica.tickets
        assert mesh is not None
        mine: list[int] = []
        for ticket in tickets:
            copy = self._copies[ticket.move_id][1] if ticket.move_id in self._copies else None
            mine += [0, 0, 1] if copy is None else [copy.copied_pages, copy.copied_bytes, int(not copy.failed)]
            if copy is not None and copy.failed:
                log.warning("move %s: %s", ticket.move_id, copy.why_failed)
        every = gather_numbers(mesh, mine, smallest)
        said = [every[ticket.source][3 * i : 3 * i + 3] for i, ticket in enumerate(tickets)]
        return {
            ticket.move_id: MoveProgress(pages, size * self._pool.shape.tensor_degree, failed=not well)
            for ticket, (pages, size, well) in zip(tickets, said, strict=True)
        }

    def commit(self, commits: Sequence[MoveCommit]) -> float:
        """Exchange what was not copied and switch to the new places; collective. Returns the seconds it took."""
        began = time.monotonic()
        tails = [tail for commit in commits for tail in tail_pages(self._replica.ticket(commit.move_id), commit)]
        if tails:
            self._exchange(tails)
        self._replica.switch(commits)
        self._stop([commit.move_id for commit in commits])
        return time.monotonic() - began

    def _exchange(self, tails: Sequence[TailPage]) -> None:
        """Send tails from their sources to their targets, all in one exchange of bytes; collective."""
        mesh = self._mesh
        assert mesh is not None
        sent: list[list[Tensor]] = [[] for _ in range(mesh.size)]
        expected: list[list[TailPage]] = [[] for _ in range(mesh.size)]
        for tail in tails:
            if tail.ticket.source == mesh.rank:
                sent[tail.ticket.target].append(self._read(tail))
            if tail.ticket.target == mesh.rank:
                expected[tail.ticket.source].append(tail)
        in_splits = [sum(len(part) for part in parts) for parts in sent]
        out_splits = [sum(tail.tokens for tail in parts) * self._token_bytes for parts in expected]
        empty = torch.empty(0, dtype=torch.uint8, device=self._pool.device)
        inp = torch.cat([empty, *(part for parts in sent for part in parts)])
        out = torch.empty(sum(out_splits), dtype=torch.uint8, device=self._pool.device)
        mesh.all_to_all_single(out, inp, out_splits, in_splits).wait()
        arrived = [tail for parts in expected for tail in parts]
        sizes = [tail.tokens * self._token_bytes for tail in arrived]
        for tail, payload in zip(arrived, out.split(sizes), strict=True):
            self._store(tail, payload)

    def _read(self, tail: TailPage) -> Tensor:
        """A page's K and V of all layers as bytes [n]."""
        (slot,) = self._replica.slots_of(tail.ticket.request_id, tail.page, 1)
        layers = [self._pool.read(layer, slot, tail.tokens) for layer in range(self._pool.shape.layers)]
        return torch.cat([part.reshape(-1) for pair in layers for part in pair]).view(torch.uint8)

    def _store(self, tail: TailPage, payload: Tensor) -> None:
        shape, slot = self._pool.shape, tail.ticket.slots[tail.offset]
        # A view of another type must start at a multiple of its size: a copy does.
        values = payload.clone().view(getattr(torch, shape.dtype))
        stored = values.view(shape.layers, 2, shape.kv_heads, tail.tokens, shape.head_dim)
        for layer in range(shape.layers):
            self._pool.write(layer, slot, stored[layer, 0], stored[layer, 1])

    @property
    def _token_bytes(self) -> int:
        return self._pool.shape.layers * self._pool.shape.token_layer_bytes()

    def _copy(self, ticket: MoveTicket) -> PageCopy:
        assert self._epoch is not None
        errand = Errand(
            request_id=ticket.request_id,
            version=self._epoch.number,
            holder=self._epoch.members[ticket.target],
            token=self._access.token,
            shape=self._pool.shape,
            deadline=time.monotonic() + ticket.budget_ms / 1000,
            move_id=ticket.move_id,
        )
        sources = self._replica.slots_of(ticket.request_id, ticket.first_page, len(ticket.slots))
        # Each process of the rank copies its part at its share of the rate; 0 is no limit.
        rate = -(-ticket.bytes_per_second // self._pool.shape.tensor_degree)
        route = CopyRoute(ticket.first_page, tuple(sources), ticket.slots, rate)
        return PageCopy(self._pool, errand, self._access.transport, route, ticket.tokens)

    def _stop(self, move_ids: Sequence[str]) -> None:
        for move_id in move_ids:
            if move_id in self._copies:
                self._copies.pop(move_id)[1].stop()
