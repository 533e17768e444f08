"""Decode that chooses blocks on one GPU, against the same on the CPU."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from csps_engine.comm.local import LocalMesh
from csps_engine.core.plan import PAGE_TOKENS, ChoiceReport, DecodeRow, PageTable, Place, StepPlan
from csps_engine.csa.decode_settings import DecodeChoice
from csps_engine.csa.page_digests import PageDigests
from csps_engine.kv.pool import KvPool
from csps_engine.model.load import load_model
from csps_engine.model.weights import WeightForm
from csps_engine.pipeline.chosen_pages import Reader
from csps_engine.pipeline.decode import DecodeRunner

CONTEXTS = (2000, 900, 40)
RULE = DecodeChoice(share=1.0, min_tokens=500)


def step(model_file: Path, device: str, rule: DecodeChoice | None) -> tuple[dict[str, int], dict[str, ChoiceReport]]:
    """One step of requests of several lengths over the same KV, whose keys differ much from block to block."""
    model = load_model(model_file, WeightForm(device=torch.device(device)))
    pages = [context // PAGE_TOKENS + 1 for context in CONTEXTS]
    pool = KvPool(model.config.kv_shape("float32"), sum(pages), model.device)
    draw = torch.Generator().manual_seed(1)
    for layer in range(model.config.layers):
        for tensor in pool.pages(layer):
            middle = 4 * torch.randn(*tensor.shape[:2], 1, tensor.shape[3], generator=draw)
            tensor.copy_(middle + 0.2 * torch.randn(tensor.shape, generator=draw))
    slots = random.Random(2).sample(range(sum(pages)), sum(pages))
    tables, rows = {}, []
    for n, (context, count) in enumerate(zip(CONTEXTS, pages, strict=True)):
        tables[str(n)] = PageTable([Place(0, slots.pop()) for _ in range(count)], context)
        rows.append(DecodeRow(str(n), 0, 1000 + n, context))
    reader = None if rule is None else Reader(pool, PageDigests(pool, rule.block_tokens), rule)
    result = DecodeRunner(model, LocalMesh(model.device), pool, reader).step(StepPlan(tuple(rows)), tables)
    return {name: token.token_id for name, token in result.sampled.items()}, dict(result.chosen)


def test_the_gpu_chooses_what_the_cpu_does(model_file: Path) -> None:
    (found, chosen), (wanted, reference) = (step(model_file, device, RULE) for device in ("cuda", "cpu"))
    assert found == wanted
    assert chosen.keys() == reference.keys() == {"0", "1"}
    for name, report in chosen.items():
        other = reference[name]
        assert other.skipped_tokens > other.read_tokens / 10
        # A block at the very floor may fall on either side.
        assert report.read_tokens == pytest.approx(other.read_tokens, rel=0.005)
        assert report.covered == pytest.approx(other.covered, abs=1e-3)


def test_where_nothing_is_left_out_the_gpu_says_what_it_says_without_a_choice(model_file: Path) -> None:
    everything = DecodeChoice(share=0, min_tokens=1, dense_layers=0)
    found, chosen = step(model_file, "cuda", everything)
    assert found == step(model_file, "cuda", None)[0]
    assert all(report.skipped_tokens == 0 for report in chosen.values())
