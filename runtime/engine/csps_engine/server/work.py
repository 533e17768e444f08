"""What a process of a rank does in epochs, assembled: prefill, or pages with their transfer port and decode."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from csps_engine.config import EngineConfig
from csps_engine.core.kvshape import KvShape
from csps_engine.core.plan import PrefillMode
from csps_engine.csa.page_digests import PageDigests
from csps_engine.kernels.graphs import CudaRecorder, bucket_sizes
from csps_engine.kv.pool import KvPool
from csps_engine.loop.move_work import MoveWork
from csps_engine.loop.pool_reporter import PoolReporter
from csps_engine.loop.pool_work import HandOver, PoolParts, PoolWork
from csps_engine.loop.prefill_policy import PrefillPolicy
from csps_engine.loop.prefill_work import PrefillWork
from csps_engine.loop.reports import NO_REPORTS, PostEvents, ShardReports, TakeOver
from csps_engine.metrics import Metrics
from csps_engine.model.llama import Llama
from csps_engine.pipeline.chosen_pages import Reader
from csps_engine.pipeline.graphed_layers import GraphedLayers
from csps_engine.scheduler.replica import Replica
from csps_engine.server.loaded import LoadedShard
from csps_engine.server.sparse import decode_choice
from csps_engine.transfer.nixl_transport import NixlTransport
from csps_engine.transfer.receiver import PageStore, TransferServer
from csps_engine.transfer.transport import Access, TcpTransport

CUDA_KV_SHARE = 0.85
"""Share of the free device memory that KV pages take when no size is given; the rest is for activations."""


@dataclass(frozen=True, slots=True)
class Outlets:
    """To whom the work tells what happens to requests. Called on the engine thread."""

    post: PostEvents
    take_over: TakeOver
    hand_over: HandOver
    shards: ShardReports


UNHEARD = Outlets(post=lambda _: None, take_over=lambda _: None, hand_over=lambda _: None, shards=NO_REPORTS)
"""Of a process that only follows: process 0 of its rank tells the same."""


def make_prefill(config: EngineConfig, model: LoadedShard, metrics: Metrics, outlets: Outlets) -> PrefillWork:
    mode: PrefillMode = "auto"
    if config.sp_mode in ("allToAll", "kvGather"):
        mode = "allToAll" if config.sp_mode == "allToAll" else "kvGather"
    # Predictions err, and ranks differ.
    limit = config.collective_timeout_ms / 1000 / 4
    policy = PrefillPolicy(mode, model.sparse, layer_limit_seconds=limit)
    return PrefillWork(model.llama, policy, model.shape, _access(config), metrics, outlets.post)


def make_pool(
    config: EngineConfig, model: LoadedShard, metrics: Metrics, outlets: Outlets
) -> tuple[PoolWork, TransferServer]:
    """Raises ValueError when there is no room for a page."""
    pool = KvPool(model.shape, _slots(config, model.shape), model.llama.device)
    replica = Replica(model.shape.layers)
    reporter = PoolReporter(metrics, outlets.post, outlets.take_over, outlets.shards)
    access = _access(config)
    moving = MoveWork(pool, replica, access)
    choice = decode_choice(config)
    reader = None if choice is None else Reader(pool, PageDigests(pool, choice.block_tokens), choice)
    graphs = _recorded_layers(config, model.llama)
    parts = PoolParts(model.llama, pool, replica, reporter, moving, reader, graphs)
    store = PageStore(config.rank.incarnation, replica, pool, metrics)
    port = config.rank.transfer_port + model.shape.tensor_rank
    transfer = TransferServer(config.rank.address, port, access, store)
    return PoolWork(parts, config.max_batch, outlets.hand_over), transfer


def _recorded_layers(config: EngineConfig, model: Llama) -> GraphedLayers | None:
    """Recordings for every batch that there may be; None where they are not asked for. Takes seconds."""
    if not config.cuda_graphs:
        return None
    return GraphedLayers(model, CudaRecorder(model.device), bucket_sizes(config.max_batch))


def _access(config: EngineConfig) -> Access:
    """Raises NixlMissing when that transport is asked for and not installed."""
    nixl = config.kv_transport == "nixl"
    return Access(config.control_token, NixlTransport(config.rank.rank_id) if nixl else TcpTransport())


def _slots(config: EngineConfig, shape: KvShape) -> int:
    size = config.kv_bytes
    size = int(CUDA_KV_SHARE * torch.cuda.mem_get_info()[0]) if size is None else size // config.tensor_parallel
    slots = size // shape.page_bytes()
    if slots < 1:
        raise ValueError(f"{size} bytes hold no KV page of {shape.page_bytes()} bytes; raise CSPS_KV_BYTES")
    return int(slots)
