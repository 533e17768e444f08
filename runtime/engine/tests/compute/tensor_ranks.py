"""A model cut over T tensor ranks and its tokens over P sequence ranks, all as threads of one process."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch.distributed as dist
from prompt_kv import KeptKv, store
from rank_threads import keep_to_one_core
from torch import Tensor

from csps_engine.comm.group import form_mesh
from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import PAGE_TOKENS, DecodeRow, PageTable, Place, PrefillJob, PrefillMode, StepPlan
from csps_engine.kv.pool import KvPool
from csps_engine.model.config import Shard
from csps_engine.model.llama import Llama
from csps_engine.model.load import FP32, ModelFile
from csps_engine.model.tensor_group import MeshTensorGroup
from csps_engine.model.weights import WeightForm, load_weights
from csps_engine.pipeline.decode import DecodeRunner
from csps_engine.pipeline.prefill import PrefillRunner

Answer = TypeVar("Answer")
TIMEOUT = timedelta(seconds=600)
"""A busy machine computes slowly."""


def load_shards(file: ModelFile, ranks: int, form: WeightForm = FP32) -> list[Llama]:
    """The shards of a model, by tensor rank; they compute once a group is given to them."""
    config = file.config()
    return [
        Llama(shard.config(config), load_weights(config, file, file.names, form, shard))
        for shard in (Shard(rank, ranks) for rank in range(ranks))
    ]


class ShardedLlama(Llama):
    """A shard that computes with its group and keeps the logits."""

    def __init__(self, shard: Llama, group: Mesh) -> None:
        super().__init__(shard.config, shard.weights, MeshTensorGroup(group))
        self.seen: list[Tensor] = []

    def logits(self, x: Tensor) -> Tensor:
        self.seen.append(super().logits(x))
        return self.seen[-1]


@dataclass
class Seat:
    """One process of the engine: tensor rank t of sequence rank p."""

    model: ShardedLlama
    mesh: Mesh
    """The same tensor rank of every sequence rank."""
    tensor_rank: int


def on_grid(shards: Sequence[Llama], ranks: int, work: Callable[[Seat], Answer]) -> list[list[Answer]]:
    """What `work` answers, by sequence rank and tensor rank."""
    hosts = dist.HashStore()
    size = len(shards)

    def one(seat: tuple[int, int]) -> Answer:
        p, t = seat
        tensor = form_mesh(dist.PrefixStore(f"tensor of {p}", hosts), t, size, TIMEOUT)
        mesh = form_mesh(dist.PrefixStore(f"sequence of {t}", hosts), p, ranks, TIMEOUT)
        try:
            return work(Seat(ShardedLlama(shards[t], tensor), mesh, t))
        except BaseException:
            tensor.abort()
            mesh.abort()
            raise

    seats = [(p, t) for p in range(ranks) for t in range(size)]
    with ThreadPoolExecutor(len(seats), initializer=keep_to_one_core) as pool:
        answers = list(pool.map(one, seats))
    return [answers[p * size : (p + 1) * size] for p in range(ranks)]


@dataclass
class Generated:
    """A prompt's first logits and the tokens after it."""

    logits: Tensor  # [vocab]
    tokens: list[int]


def generate(
    shards: Sequence[Llama], prompt: Sequence[int], ranks: int, steps: int, mode: PrefillMode = "auto"
) -> Generated:
    """Prefill and `steps` greedy decode steps on P x T ranks; checks that every rank draws the same tokens."""
    draw = random.Random(ranks)
    kept = [KeptKv() for _ in shards]
    pages = -(-(len(prompt) + steps) // PAGE_TOKENS)
    slots = {rank: draw.sample(range(pages), pages) for rank in range(ranks)}
    places = [Place(rank := draw.randrange(ranks), slots[rank].pop()) for _ in range(pages)]
    home = draw.randrange(ranks)

    def start(seat: Seat) -> tuple[int, Tensor | None]:
        job = PrefillJob("request", tuple(prompt), mode=mode)
        first = PrefillRunner(seat.model, seat.mesh).run(job, kept[seat.tensor_rank]).sampled.token_id
        return first, seat.model.seen[0][0] if seat.model.seen else None

    started = [answer for row in on_grid(shards, ranks, start) for answer in row]
    [first] = {token for token, _ in started}

    def go_on(seat: Seat) -> list[int]:
        pool = KvPool(seat.model.config.kv_shape("float32"), pages)
        store(pool, kept[seat.tensor_rank], places, seat.mesh.rank)
        runner, stream = DecodeRunner(seat.model, seat.mesh, pool), [first]
        for position in range(len(prompt), len(prompt) + steps):
            row = DecodeRow("request", home, stream[-1], position)
            result = runner.step(StepPlan((row,)), {"request": PageTable(places, position)})
            stream.append(result.sampled["request"].token_id)
        return stream

    [tokens] = {tuple(stream) for row in on_grid(shards, ranks, go_on) for stream in row}
    logits = [seen for _, seen in started if seen is not None]
    assert all(seen.equal(logits[0]) for seen in logits)
    return Generated(logits[0], list(tokens))
