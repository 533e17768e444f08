"""Sarathi-style serving on one rank (Agrawal et al., 2024): each iteration carries all decoding requests and as much
of the oldest waiting prompt as fits into a budget of tokens, so that a long prompt never stalls decoding for longer
than one chunk. Exact."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from csps_engine.attention.attend import attend
from csps_engine.attention.partial import Partial, merge
from csps_engine.kv.pool import KvPool
from csps_engine.kv.runs import Run
from csps_engine.model.llama import Llama
from csps_engine.model.packed_matrix import FEW_TOKENS


@dataclass(slots=True)
class Request:
    """One request; `written` of its tokens have KV."""

    request_id: str
    prompt: tuple[int, ...]
    output_tokens: int
    slots: list[int] = field(default_factory=list)
    written: int = 0
    output: list[int] = field(default_factory=list)

    @property
    def prefilled(self) -> bool:
        return self.written >= len(self.prompt)


@dataclass(frozen=True, slots=True)
class _Part:
    """Tokens of one request in an iteration: rows [start, start + count) of it."""

    request: Request
    start: int
    count: int
    samples: bool


class ChunkedServer:
    """Continuous batching on one rank, greedy. `budget_tokens`: most tokens an iteration computes.

    `few`: the same model in the form that suits iterations of few tokens, where there is one.
    """

    def __init__(self, model: Llama, pool: KvPool, budget_tokens: int, few: Llama | None = None) -> None:
        self._large = model
        self._few = few or model
        self._pool = pool
        self._budget = budget_tokens
        self._free = list(range(pool.slots - 1, -1, -1))
        self._waiting: deque[Request] = deque()
        self._admitted: list[Request] = []

    @property
    def load_tokens(self) -> int:
        """Prompt tokens not yet computed."""
        return sum(len(r.prompt) - r.written for r in (*self._waiting, *self._admitted) if not r.prefilled)

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._admitted)

    def add(self, request: Request) -> None:
        """Queue a request, in order of arrival."""
        self._waiting.append(request)

    def step(self) -> list[Request]:
        """Run one iteration; says whose output grew."""
        self._admit()
        parts = self._plan()
        if not parts:
            return []
        with torch.inference_mode():
            self._compute(parts)
        grown = [part.request for part in parts if part.samples]
        for request in grown:
            if len(request.output) == request.output_tokens:
                self._admitted.remove(request)
                self._free.extend(request.slots)
        return grown

    def _admit(self) -> None:
        """First come, first served, while the pages of prompt and output fit."""
        size = self._pool.shape.page_tokens
        while self._waiting:
            request = self._waiting[0]
            pages = -(-(len(request.prompt) + request.output_tokens) // size)
            if pages > len(self._free):
                return
            request.slots = [self._free.pop() for _ in range(pages)]
            self._admitted.append(self._waiting.popleft())

    def _plan(self) -> list[_Part]:
        parts = [_Part(r, r.written, 1, True) for r in self._admitted if r.prefilled]
        left = self._budget - len(parts)
        for request in self._admitted:
            if request.prefilled or left <= 0:
                continue
            count = min(left, len(request.prompt) - request.written)
            parts.append(_Part(request, request.written, count, request.written + count == len(request.prompt)))
            left -= count
        return parts

    def _compute(self, parts: Sequence[_Part]) -> None:
        model = self._few if sum(part.count for part in parts) < FEW_TOKENS else self._large
        ids = [token for part in parts for token in _tokens(part)]
        positions = [position for part in parts for position in range(part.start, part.start + part.count)]
        x = model.embed(torch.tensor(ids, device=model.device))
        turn = model.turn(torch.tensor(positions, device=model.device))
        places = torch.tensor(
            [self._place(part.request, part.start + n) for part in parts for n in range(part.count)],
            device=model.device,
        )
        counts = [part.count for part in parts]
        for layer in range(model.config.layers):
            q, k, v = model.qkv(layer, x, turn)
            self._pool.append(layer, places, k, v)
            columns = zip(parts, q.split(counts), k.split(counts), v.split(counts), strict=True)
            model.finish(layer, x, torch.cat([self._attend(layer, *column) for column in columns]))
        ends = torch.tensor(counts).cumsum(0) - 1
        sampling = [n for n, part in enumerate(parts) if part.samples]
        logits = model.logits(x[ends[sampling]])
        for part in parts:
            part.request.written += part.count
        for number, row in zip(sampling, logits, strict=True):
            parts[number].request.output.append(int(row.argmax()))

    def _attend(self, layer: int, part: _Part, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        own = attend(q, *(each.transpose(0, 1).contiguous() for each in (k, v)), causal=True)
        for block in self._before(layer, part):
            own = merge(own, attend(q, *block, causal=False))
        return Partial(*own).out

    def _before(self, layer: int, part: _Part) -> list[tuple[Tensor, Tensor]]:
        size = self._pool.shape.page_tokens
        used = part.request.slots[: -(-part.start // size)]
        runs = [Run(slot, min(size, part.start - page * size)) for page, slot in enumerate(used)]
        return self._pool.blocks(layer, self._pool.lookup(runs)) if runs else []

    def _place(self, request: Request, position: int) -> int:
        size = self._pool.shape.page_tokens
        return request.slots[position // size] * size + position % size


def _tokens(part: _Part) -> Sequence[int]:
    prompt = part.request.prompt
    if part.start >= len(prompt):
        return part.request.output[-1:]
    return prompt[part.start : part.start + part.count]
