"""Reads the KV of a prompt's beginning from the pool that holds it, layer by layer ahead of the prefill.

One thread a holder asks for its pages of layer after layer, a few layers ahead of the one that is computed, so that
memory holds a few layers of a long beginning and not all of them. Who goes on only with layers that are `ready` never
waits. Whatever goes wrong becomes `failure`; the layers that did not come are then zeros, for the ranks of a group go
through a prompt in step and agree on its failure afterwards.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from csps_engine.core.kvshape import KvShape
from csps_engine.refusal import Refused
from csps_engine.scheduler.replica import IncomingPage
from csps_engine.transfer.errand import Errand, connect, failure_of, read_answer
from csps_engine.transfer.frame import PageRead, TransferBroken, receive_exactly, send_json
from csps_engine.wire.generated import Failure, Reservation

log = logging.getLogger(__name__)

LAYERS_AHEAD = 3
BYTES_AHEAD = 64 * 2**20
"""Of a short beginning more layers are ahead, up to so many bytes."""
READ_BYTES = 4 * 2**20
"""Pages of one layer travel together up to about this size: a holder copies so much at a time."""
SILENCE_SECONDS = 2.0
"""A holder that says nothing for so long is given up, well before the other ranks' collectives would be."""


@dataclass(slots=True)
class _Layer:
    k: Tensor  # [K, tokens, D]
    v: Tensor
    holders_left: int
    ready: threading.Event = field(default_factory=threading.Event)


class PrefixPull:
    """Of the shared pages of one reservation. One thread takes the layers in order."""

    def __init__(self, reservation: Reservation, shape: KvShape, token: str, deadline: float) -> None:
        self.tokens = shape.page_tokens * (reservation.shared_pages or 0)
        self.failure: Failure | None = None
        """Why the beginning is not known; set before the first layer that lacks something is handed out."""
        self._shape = shape
        self._deadline = deadline
        self._changed = threading.Condition()
        self._layers: dict[int, _Layer] = {}
        self._taken = 0
        self._ahead = max(LAYERS_AHEAD, BYTES_AHEAD // max(1, self.tokens * shape.token_layer_bytes()))
        self._closed = False
        pages: dict[str, list[IncomingPage]] = {}
        for place in reservation.pages[: reservation.shared_pages or 0]:
            pages.setdefault(place.rank_id, []).append(IncomingPage(place.page, place.slot, shape.page_tokens))
        self._holders = len(pages)
        for holder in reservation.holders:
            if holder.rank_id in pages:
                errand = Errand(reservation.request_id, reservation.epoch, holder, token, shape, deadline)
                name, args = f"pull-{holder.rank_id}", (errand, pages[holder.rank_id])
                threading.Thread(target=self._run, name=name, args=args, daemon=True).start()

    def take(self, layer: int) -> tuple[Tensor, Tensor]:
        """K and V [kv_heads, tokens, head_dim] of a layer; waits for them. Layers are taken in order, once each."""
        known = self._at(layer)
        if not known.ready.wait(max(0.0, self._deadline - time.monotonic())):
            self._fail(Failure(code="deadline_exceeded", message="the prompt's beginning did not come in time"))
        with self._changed:
            del self._layers[layer]
            self._taken = layer + 1
            self._changed.notify_all()
        return known.k, known.v

    def ready(self, seconds: float = 0.0) -> int:
        """How many layers can be taken now without waiting; waits for the next one for at most `seconds`."""
        if self._taken == self._shape.layers:
            return 0
        self._at(self._taken).ready.wait(seconds)
        with self._changed:
            found = self._taken
            while found in self._layers and self._layers[found].ready.is_set():
                found += 1
            return found - self._taken

    def close(self) -> None:
        """Nobody takes the rest."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self, errand: Errand, pages: list[IncomingPage]) -> None:
        try:
            with connect(errand, SILENCE_SECONDS).connection as connection:
                for layer in range(self._shape.layers):
                    if not self._wait_for_room(layer):
                        return
                    self._read_layer(connection, errand, layer, pages)
        except Exception as error:
            # Of whatever kind: the ranks of the group wait for this thread.
            if not isinstance(error, (OSError, TransferBroken, Refused)):
                log.exception("reading the beginning of %s failed", errand.request_id)
            self._fail(failure_of(error, errand, "the KV of the prompt's beginning could not be read from"))

    def _wait_for_room(self, layer: int) -> bool:
        """Whether the layer is wanted, once it is near."""
        with self._changed:
            while layer >= self._taken + self._ahead and not self._closed and self.failure is None:
                self._changed.wait()
            return not self._closed and self.failure is None

    def _read_layer(self, connection: socket.socket, errand: Errand, layer: int, pages: Sequence[IncomingPage]) -> None:
        shape, into = self._shape, self._at(layer)
        at_once = max(1, READ_BYTES // (shape.token_layer_bytes() * shape.page_tokens))
        reads = [pages[start : start + at_once] for start in range(0, len(pages), at_once)]
        for part in reads:
            header = PageRead(errand.request_id, errand.holder.incarnation, errand.version, layer, tuple(part))
            send_json(connection, header.to_json())
        for part in reads:
            _store(self._receive(connection, errand, len(part)), into, part, shape)
        with self._changed:
            into.holders_left -= 1
            if into.holders_left == 0:
                into.ready.set()

    def _receive(self, connection: socket.socket, errand: Errand, pages: int) -> bytearray:
        answer = read_answer(connection, errand, SILENCE_SECONDS)
        connection.settimeout(min(SILENCE_SECONDS, errand.left()))
        payload = receive_exactly(connection, pages * self._shape.page_tokens * self._shape.token_layer_bytes())
        if zlib.crc32(payload) != answer.get("crc32"):
            raise TransferBroken("crc32: the payload was damaged on its way")
        return payload

    def _at(self, layer: int) -> _Layer:
        with self._changed:
            known = self._layers.get(layer)
            if known is None:
                size = (self._shape.kv_heads, self.tokens, self._shape.head_dim)
                dtype = getattr(torch, self._shape.dtype)
                # Whoever takes it may compute in inference mode, whose tensors no other thread could fill.
                with torch.inference_mode(mode=False):
                    k, v = torch.zeros(size, dtype=dtype), torch.zeros(size, dtype=dtype)
                known = _Layer(k, v, self._holders)
                self._layers[layer] = known
                if self.failure is not None:
                    known.ready.set()
            return known

    def _fail(self, failure: Failure) -> None:
        with self._changed:
            self.failure = self.failure or failure
            for layer in self._layers.values():
                layer.ready.set()
            self._changed.notify_all()


def _store(payload: bytearray, into: _Layer, pages: Sequence[IncomingPage], shape: KvShape) -> None:
    size = (2, len(pages), shape.kv_heads, shape.page_tokens, shape.head_dim)
    stored = torch.frombuffer(payload, dtype=getattr(torch, shape.dtype)).view(size)
    for index, page in enumerate(pages):
        tokens = slice(page.page * shape.page_tokens, (page.page + 1) * shape.page_tokens)
        into.k[:, tokens], into.v[:, tokens] = stored[0, index], stored[1, index]
