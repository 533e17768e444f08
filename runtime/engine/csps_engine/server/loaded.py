"""The model as a rank's process holds it: its shard, and on process 0 what the rank says of it."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass

import torch

from csps_engine.config import EngineConfig
from csps_engine.core.kvshape import DtypeName, KvShape
from csps_engine.csa.settings import CsaSettings
from csps_engine.loop.kv_identity import kv_format
from csps_engine.loop.seat import Seat
from csps_engine.model.config import ModelConfig
from csps_engine.model.descriptor import build_descriptor
from csps_engine.model.llama import Llama
from csps_engine.model.load import load_shard, open_model
from csps_engine.model.packed_library import packed_library
from csps_engine.model.weights import WeightForm
from csps_engine.server.sparse import sparse_settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedShard:
    """What one process computes with."""

    llama: Llama
    whole: ModelConfig
    """The model that it is a shard of."""
    shape: KvShape
    """Of this process's part of the KV."""
    sparse: CsaSettings | None
    """Of prefill; None: attention is exact."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What a rank serves."""

    shard: LoadedShard
    kv_format: str
    descriptor: bytes
    """ModelDescriptor as JSON; a tokenizer is megabytes, so it is encoded once."""

    @property
    def llama(self) -> Llama:
        return self.shard.llama


def load_own(config: EngineConfig, seat: Seat) -> LoadedShard:
    """Read a process's shard from disk; blocking. Raises ModelError, before any weight is read, when it has none."""
    name = _dtype(config)
    device = torch.device("cuda" if config.backend == "cuda" else "cpu")
    file = open_model(config.model_path)
    whole, shard = file.config(), seat.shard
    form = WeightForm(getattr(torch, name), device, packed=_keeps_packed(config))
    llama = load_shard(file, form, shard, seat.tensor_group)
    sparse = sparse_settings(config, whole)
    if sparse is not None and sparse.tolerances:
        own = tuple(row[shard.kv_heads(whole)] for row in sparse.tolerances)
        sparse = dataclasses.replace(sparse, tolerances=own)
    shape = dataclasses.replace(
        llama.config.kv_shape(name), tensor_rank=seat.tensor_rank, tensor_degree=seat.tensor_degree
    )
    return LoadedShard(llama, whole, shape, sparse)


def load(config: EngineConfig, seat: Seat) -> LoadedModel:
    """The same with what the rank says of its model."""
    part = load_own(config, seat)
    if config.context_length > part.whole.context:
        log.warning(
            "CSPS_CONTEXT_LENGTH=%d is beyond the %d tokens that the model was trained on: text may degrade",
            config.context_length,
            part.whole.context,
        )
    identity = kv_format(part.whole.kv_shape(_dtype(config)), config.model_path, seat.tensor_degree)
    descriptor = build_descriptor(config.model_path, config.model_name, config.context_length, identity)
    return LoadedModel(part, identity, descriptor.to_json())


def _keeps_packed(config: EngineConfig) -> bool:
    """Whether quantized weights stay as the file has them: decode on a CPU is bound by reading weights.

    Prefill is bound by arithmetic instead, and would expand them anew for every prompt.
    """
    wanted = config.role == "decode" and config.backend == "cpu" and config.dtype == "auto"
    return wanted and packed_library() is not None


def _dtype(config: EngineConfig) -> DtypeName:
    if config.dtype == "float32" or (config.dtype == "auto" and config.backend == "cpu"):
        return "float32"
    return "float16" if config.dtype == "float16" else "bfloat16"
