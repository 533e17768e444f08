"""What a testbed's rank can be asked to measure. All times are seconds of wall clock."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable
from typing import Any

import torch

from bench.baselines.all_gather import AllGatherAttention
from bench.baselines.kv_moving import KvMovingDecode
from bench.baselines.ring import RingAttention
from bench.baselines.runner import BaselinePrefill
from bench.baselines.star import StarAttention
from bench.emulation.timed_mesh import TimedMesh
from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import DecodeRow, ExactMode, PageTable, Place, PrefillJob, SparseReport, StepPlan
from csps_engine.kv.pool import KvPool
from csps_engine.model.llama import Llama
from csps_engine.pipeline.calibration import MeasuredPieces, measure_speeds
from csps_engine.pipeline.contracts import Prefill
from csps_engine.pipeline.cost import FixedPieces, PieceRule, best_pieces, layer_seconds, layer_work
from csps_engine.pipeline.decode import DecodeRunner
from csps_engine.pipeline.pieces import piece_counts
from csps_engine.pipeline.prefill import PrefillRunner

Request = dict[str, Any]
Answer = dict[str, Any]

BASELINES = {"ring": RingAttention, "allGather": AllGatherAttention, "star": StarAttention}

_RULES: dict[tuple[int, int], MeasuredPieces] = {}
"""By model and mesh size: speeds are measured once, at start, as in the engine."""


class Dropped:
    """A sink that keeps nothing."""

    def write(self, layer: int, first_token: int, k: torch.Tensor, v: torch.Tensor) -> None:
        """The tensors go out of scope."""

    def flush(self) -> None:
        """Nothing is under way."""


def prefill(model: Llama, mesh: Mesh, request: Request) -> Answer:
    """One prompt, by `variant`: dense (with `pieces`: a number, or auto), sparse, or a baseline."""
    timed = TimedMesh(mesh, blocking=request.get("blocking", False))
    sparse = request["variant"] == "sparse"
    runner = _prefill_runner(model, mesh, timed, request)
    ids = tuple(request["prompt"])
    job = PrefillJob("bench", ids, mode=request.get("mode", "auto"), attention="sparse" if sparse else "dense")
    ends = [time.perf_counter()]
    cpu, sent = time.process_time(), mesh.sent_bytes
    result = runner.run(job, Dropped(), lambda done, layers: ends.append(time.perf_counter()))
    mesh.barrier()
    wall = time.perf_counter() - ends[0]
    rule = _RULES.get((id(model), mesh.size))
    predicts = result.sparse is None and request["variant"] not in BASELINES and request.get("pieces", "auto") == "auto"
    told = _prediction(model, mesh, len(ids), result.mode, rule) if predicts and rule is not None else {}
    return {
        **told,
        "wall": wall,
        "cpu": time.process_time() - cpu,
        "sent_bytes": mesh.sent_bytes - sent,
        "waited": timed.waited_seconds,
        "layer_seconds": [b - a for a, b in itertools.pairwise(ends[:-1])],
        "mode": result.mode,
        "token": result.sampled.token_id,
        "sparse": None if result.sparse is None else _told(result.sparse, model.dtype.itemsize),
    }


def _told(sparse: SparseReport, element_bytes: int) -> Answer:
    """What a sparse prompt covered, of the attention of all ranks, and what this rank fetched of 16-bit KV."""
    available = sparse.available_bytes * 2 / element_bytes
    covered = {"mass_mean": sparse.mass_mean, "mass_p01": sparse.mass_p01, "audited": sparse.audited}
    return {**covered, "fetched_bytes": sparse.fetched_bytes, "available_bytes": available}


def _prediction(model: Llama, mesh: Mesh, tokens: int, mode: ExactMode, rule: MeasuredPieces) -> Answer:
    """What the cost model says of a dense layer cut by its own rule."""
    if rule.speeds is None:
        return {}
    work = layer_work(model.config, mode, tokens, mesh.size, model.dtype.itemsize)
    pieces = best_pieces(work, rule.speeds, piece_counts(model.config, mode, tokens, mesh.size))
    return {"predicted_layer": layer_seconds(work, rule.speeds, pieces), "pieces": pieces}


def _prefill_runner(model: Llama, mesh: Mesh, timed: TimedMesh, request: Request) -> Prefill:
    variant = request["variant"]
    if variant in BASELINES and mesh.size > 1:
        return BaselinePrefill(model, timed, BASELINES[variant])
    return PrefillRunner(model, timed, pieces=_pieces(model, mesh, request.get("pieces", "auto")))


def _pieces(model: Llama, mesh: Mesh, asked: int | str) -> PieceRule:
    if asked != "auto":
        return FixedPieces(int(asked))
    rule = _RULES.setdefault((id(model), mesh.size), MeasuredPieces(model, mesh))
    if rule.speeds is None:
        rule.speeds = measure_speeds(model, mesh)
    return rule


def decode(model: Llama, mesh: Mesh, request: Request) -> Answer:
    """`steps` steps of `batch` requests at `context` tokens, pages dealt to all ranks; `variant`: q or kv moves."""
    context, batch, steps = request["context"], request["batch"], request["steps"]
    shape = model.config.kv_shape("float32")
    pages = -(-(context + steps + 1) // shape.page_tokens)
    share = -(-pages // mesh.size)
    pool = KvPool(shape, share * batch)
    _fill(pool)
    runner = (DecodeRunner if request["variant"] == "q" else KvMovingDecode)(model, mesh, pool)
    places = [[Place(p // share, n * share + p % share) for p in range(pages)] for n in range(batch)]
    took, sent = [], []
    for step in range(steps + 1):
        rows = tuple(DecodeRow(str(n), n % mesh.size, 1 + n, context + step) for n in range(batch))
        tables = {str(n): PageTable(places[n], context + step) for n in range(batch)}
        before, began = mesh.sent_bytes, time.perf_counter()
        runner.step(StepPlan(rows), tables)
        took.append(time.perf_counter() - began)
        sent.append(mesh.sent_bytes - before)
    return {"step_seconds": took[1:], "step_bytes": sent[1:]}


def _fill(pool: KvPool) -> None:
    draw = torch.Generator().manual_seed(0)
    shape = pool.shape
    page = torch.randn(shape.kv_heads, shape.page_tokens, shape.head_dim, generator=draw)
    for layer in range(shape.layers):
        for slot in range(pool.slots):
            pool.write(layer, slot, page, page)


def speeds(model: Llama, mesh: Mesh, request: Request) -> Answer:
    """What the cost model measures at start, and how long that takes."""
    began = time.perf_counter()
    measured = measure_speeds(model, mesh)
    return {**dataclasses.asdict(measured), "took": time.perf_counter() - began}


TASKS: dict[str, Callable[[Llama, Mesh, Request], Answer]] = {"prefill": prefill, "decode": decode, "speeds": speeds}
