"""Recorded layers on padded, fixed tensors give what layers do without: here replayed by a recorder for any device."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from prompt_kv import decode, prefill
from tiny_llama import random_llama
from torch import Tensor

from csps_engine.comm.mesh import Mesh
from csps_engine.kernels.graphs import Outputs, Recording, bucket_for, bucket_sizes
from csps_engine.kv.pool import KvPool
from csps_engine.model.llama import Llama
from csps_engine.pipeline.decode import DecodeRunner
from csps_engine.pipeline.graphed_layers import GraphedLayers

MODEL = random_llama(9, 3)
TOLERANCE = 2e-4
"""Products of more rows round otherwise."""


class Rerunning:
    """Does the work again and leaves the results where the first time left them, as a graph does."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def record(self, work: Callable[[], Outputs]) -> Recording:
        outputs = tuple(part.clone() for part in work())
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            for kept, made in zip(outputs, work(), strict=True):
                kept.copy_(made)

        return Recording(replay, outputs)


class Echo:
    """Attention that tells q back, and notes what it was given."""

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, ...]] = []

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.seen.append((q.clone(), k.clone(), v.clone()))
        return q


def plain(model: Llama, x: Tensor, turn: Tensor, attention: Echo) -> Tensor:
    x = x.clone()
    for layer in range(model.config.layers):
        q, k, v = model.qkv(layer, x, turn)
        model.finish(layer, x, attention.attend(layer, q, k, v))
    return x


@pytest.mark.parametrize(
    ("largest", "sizes"),
    [
        (1, (1,)),
        (3, (1, 2, 3)),
        (8, (1, 2, 4, 8)),
        (64, (1, 2, 4, 8, 16, 24, 32, 48, 64)),
        (200, (1, 2, 4, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 200)),
    ],
)
def test_sizes_are_few_and_rise_to_the_largest_batch(largest: int, sizes: tuple[int, ...]) -> None:
    assert bucket_sizes(largest) == sizes


def test_a_batch_takes_the_least_size_that_holds_it() -> None:
    sizes = bucket_sizes(64)
    for rows in range(1, 65):
        size = bucket_for(rows, sizes)
        assert size is not None
        assert size >= rows
        assert all(other < rows for other in sizes if other < size)
    assert bucket_for(0, sizes) is None
    assert bucket_for(65, sizes) is None


def test_recorded_layers_give_what_layers_do_for_any_number_of_rows_in_any_order() -> None:
    sizes, recorder = (1, 4, 8), Rerunning()
    layers, draw = GraphedLayers(MODEL, recorder, sizes), torch.Generator().manual_seed(1)
    assert recorder.recorded == len(sizes) * (MODEL.config.layers + 1)
    with torch.inference_mode():
        # Larger batches leave their rows in the padding of smaller ones.
        for rows in (8, 3, 1, 5, 4, 2, 7, 1):
            x = torch.randn(rows, MODEL.config.hidden, generator=draw)
            turn = MODEL.turn(torch.randint(0, 500, (rows,), generator=draw))
            recorded, wanted = Echo(), Echo()
            found = layers.run(x.clone(), turn, recorded)
            assert found is not None
            torch.testing.assert_close(found, plain(MODEL, x, turn, wanted), rtol=0, atol=TOLERANCE)
            for one, other in zip(recorded.seen, wanted.seen, strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=TOLERANCE)


def test_a_batch_that_no_recording_holds_is_left_to_the_model() -> None:
    layers = GraphedLayers(MODEL, Rerunning(), (1, 2))
    x, turn = torch.zeros(3, MODEL.config.hidden), MODEL.turn(torch.arange(3))
    assert layers.run(x, turn, Echo()) is None
    assert layers.run(x[:0], turn[:0], Echo()) is None


@pytest.mark.parametrize("ranks", [1, 3])
def test_decode_by_recordings_says_what_decode_says(ranks: int) -> None:
    draw = torch.Generator().manual_seed(3)
    prompts = [prefill(MODEL, torch.randint(0, 61, (n,), generator=draw).tolist(), 1) for n in (130, 20, 65)]
    recorder = Rerunning()

    class Recorded(DecodeRunner):
        def __init__(self, model: Llama, mesh: Mesh, pool: KvPool) -> None:
            super().__init__(model, mesh, pool, graphs=GraphedLayers(model, recorder, (1, 2, 4)))

    assert decode(MODEL, prompts, 12, ranks, seed=5, runner=Recorded) == decode(MODEL, prompts, 12, ranks, seed=5)
    assert recorder.replayed > 12 * MODEL.config.layers
