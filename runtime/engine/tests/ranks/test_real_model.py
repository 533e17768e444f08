"""The whole path with the real model of the tests: GGUF in, text-sized prompts, tokens equal to one process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from gateway_part import Request
from nursery import Nursery
from rank_process import Group, Place

from csps_engine.comm.local import LocalMesh
from csps_engine.core.plan import DecodeRow, PageTable, PrefillJob, StepPlan
from csps_engine.core.plan import Place as PagePlace
from csps_engine.kv.pool import KvPool
from csps_engine.model.load import load_model
from csps_engine.pipeline.decode import DecodeRunner
from csps_engine.pipeline.prefill import PrefillRunner


class PoolSink:
    """Writes a prompt's KV straight into a pool, page p in slot p."""

    def __init__(self, pool: KvPool) -> None:
        self._pool = pool

    def write(self, layer: int, first_token: int, k: torch.Tensor, v: torch.Tensor) -> None:
        self._pool.write(layer, first_token // 64, k, v)

    def flush(self) -> None:
        """Nothing is under way."""


def single_process(model_file: Path, prompt: list[int], count: int) -> list[int]:
    """The same model computed by one rank, without a wire."""
    model = load_model(model_file)
    mesh = LocalMesh()
    pool = KvPool(model.config.kv_shape("float32"), 8)
    runner = DecodeRunner(model, mesh, pool)
    tokens = [PrefillRunner(model, mesh).run(PrefillJob("r", tuple(prompt)), PoolSink(pool)).sampled.token_id]
    places = [PagePlace(0, slot) for slot in range(8)]
    while len(tokens) < count:
        position = len(prompt) + len(tokens) - 1
        plan = StepPlan((DecodeRow("r", 0, tokens[-1], position),))
        tokens.append(runner.step(plan, {"r": PageTable(places, position)}).sampled["r"].token_id)
    return tokens


@pytest.fixture
def groups(tmp_path: Path, nursery: Nursery, model_file: Path) -> Iterator[tuple[Group, Group]]:
    """The prefill ranks start as in a pod, from nothing."""
    settings = {"CSPS_KV_BYTES": str(64 * 2**20), "CSPS_HEARTBEAT_MS": "400"}
    prefill = Group(Place(tmp_path, model_file, settings, nursery, anew=True), "real-prefill-0", "prefill", 2)
    decode = Group(Place(tmp_path, model_file, settings, nursery), "real-decode", "decode", 2)
    try:
        for group in (prefill, decode):
            group.wait_loaded()
            group.push_roster()
        yield prefill, decode
    finally:
        prefill.close()
        decode.close()


def test_two_prefill_and_two_decode_ranks_say_what_one_process_says(
    groups: tuple[Group, Group], model_file: Path
) -> None:
    prefill, decode = groups
    group, pool = prefill.wait_serving(), decode.wait_serving()
    prompt = torch.randint(1000, 40000, (300,), generator=torch.Generator().manual_seed(0)).tolist()
    request = Request(prompt, 8)
    reservation = request.reserve(pool)
    first, done = request.prefill(group, reservation)
    tokens, _ = request.decode(pool, first)
    assert (done["degree"], len(reservation["holders"])) == (2, 2)
    assert done["kvBytesPushed"] == 300 * 30 * 2 * 3 * 64 * 4
    assert [first, *tokens] == single_process(model_file, prompt, 8)
