"""Prefill of one prompt by all ranks of a mesh; exact dense attention, or sparse where the job asks for it.

x = embed(own tokens)
for each layer:  q, k, v = own tokens;  attention over all tokens (the one step that communicates);
                 own k, v go to the sink;  x = finish(x, attention)
the owner of the last token samples; every rank learns the token
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import ExactMode, KvSink, PrefillJob, PrefillResult, Progress, SampledToken
from csps_engine.csa.settings import CsaError, CsaSettings
from csps_engine.model.llama import Llama, Qkv
from csps_engine.pipeline.all_to_all import AllToAllAttention
from csps_engine.pipeline.cost import FixedPieces, PieceRule, layer_work
from csps_engine.pipeline.csa_attention import CsaAttention
from csps_engine.pipeline.kv_gather import KvGatherAttention
from csps_engine.pipeline.mode import ModeError, choose_mode, split_heads
from csps_engine.pipeline.partition import Span
from csps_engine.pipeline.pieces import kv_piece_counts, query_piece_counts
from csps_engine.pipeline.token_exchange import share_tokens
from csps_engine.sampling import sample

DEFAULT_CSA = CsaSettings()
WHOLE = FixedPieces(1)


class PrefillAttention(Protocol):
    """Causal attention of a prompt that is cut between ranks."""

    @property
    def own(self) -> tuple[Span, ...]:
        """This rank's tokens, in rising order."""
        ...

    @property
    def last_owner(self) -> int:
        """The rank that owns the last token."""
        ...

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Output [n, heads, head_dim] of own queries q, given own k, v [kv_heads, n, head_dim]. Collective."""
        ...


class PrefillRunner:
    """Runs prompts one after another on one rank; `pieces` says how exchange and computation overlap."""

    def __init__(self, model: Llama, mesh: Mesh, csa: CsaSettings = DEFAULT_CSA, pieces: PieceRule = WHOLE) -> None:
        self._model = model
        self._mesh = mesh
        self._csa = csa
        self._pieces = pieces

    def run(self, job: PrefillJob, sink: KvSink, progress: Progress | None = None) -> PrefillResult:
        """Compute the prompt's KV and sample the token after it. Collective; every rank passes the same job."""
        mesh, sent_before = self._mesh, self._mesh.sent_bytes
        sparse = _sparse(job, mesh, self._csa)
        mode = choose_mode(self._model.config, mesh.size, job.mode) if sparse is None else "kvGather"
        attention = sparse or self._exact(mode, len(job.token_ids))
        result = replace(self.run_with(attention, job, sink, progress), mode=mode)
        if sparse is None:
            return result
        report = sparse.report()
        return replace(result, sparse=report, sent_bytes=mesh.sent_bytes - sent_before)

    def run_with(
        self, attention: PrefillAttention, job: PrefillJob, sink: KvSink, progress: Progress | None = None
    ) -> PrefillResult:
        """The same with an attention of the caller's; the result's mode is then only a guess."""
        with torch.inference_mode():
            return self._run(attention, job, sink, progress)

    def _run(
        self, attention: PrefillAttention, job: PrefillJob, sink: KvSink, progress: Progress | None
    ) -> PrefillResult:
        model, mesh = self._model, self._mesh
        sent_before = mesh.sent_bytes
        x, turn = self._enter(job, attention.own)
        kv_bytes = 0
        for layer in range(model.config.layers):
            q, k, v = _head_major(model.qkv(layer, x, turn))
            kv_bytes += _hand_over(sink, layer, attention.own, k, v)
            attended = attention.attend(q, k, v)
            if layer == model.config.layers - 1:
                # Nothing after the last layer reads any token but the last, whose owner holds it last.
                x, attended = x[-1:], attended[-1:]
            model.finish(layer, x, attended)
            if progress is not None:
                progress(layer + 1, model.config.layers)
        sampled = self._sample(job, attention.last_owner, x)
        mode: ExactMode = "local" if mesh.size == 1 else "kvGather"
        return PrefillResult(sampled, mode, kv_bytes, mesh.sent_bytes - sent_before)

    def _exact(self, mode: ExactMode, tokens: int) -> PrefillAttention:
        mesh, config = self._mesh, self._model.config
        if mode == "local":
            return KvGatherAttention(mesh, tokens)
        work = layer_work(config, mode, tokens, mesh.size, self._model.dtype.itemsize)
        queries = tokens // mesh.size
        if mode == "kvGather":
            allowed = kv_piece_counts(config.kv_heads, queries)
            return KvGatherAttention(mesh, tokens, self._pieces.choose(work, allowed))
        splits = split_heads(config, mesh.size)
        assert splits is not None
        allowed = query_piece_counts(splits[0], queries)
        return AllToAllAttention(config, mesh, tokens, self._pieces.choose(work, allowed))

    def _enter(self, job: PrefillJob, own: tuple[Span, ...]) -> tuple[Tensor, Tensor]:
        positions = torch.cat([torch.arange(span.start, span.stop) for span in own])
        ids = torch.tensor(job.token_ids)[positions].to(self._model.device)
        return self._model.embed(ids), self._model.turn(positions.to(self._model.device))

    def _sample(self, job: PrefillJob, owner: int, x: Tensor) -> SampledToken:
        mine: list[SampledToken] = []
        if self._mesh.rank == owner:
            mine.append(sample(self._model.logits(x[-1:])[0], job.sampling, len(job.token_ids)))
        counts = [int(rank == owner) for rank in range(self._mesh.size)]
        return share_tokens(self._mesh, mine, counts, job.sampling.logprobs)[owner][0]


def _sparse(job: PrefillJob, mesh: Mesh, settings: CsaSettings) -> CsaAttention | None:
    """Sparse attention if the job asks for it and the prompt is long enough to be worth it."""
    if job.attention == "dense":
        return None
    if job.mode == "allToAll":
        raise ModeError("sparse attention moves keys and values; it has no allToAll form")
    tokens = len(job.token_ids)
    if mesh.size == 1 or tokens <= settings.dense_tokens:
        return None
    try:
        return CsaAttention(mesh, tokens, settings)
    except CsaError as error:
        raise ModeError(str(error)) from error


def _head_major(qkv: Qkv) -> tuple[Tensor, Tensor, Tensor]:
    """Keys and values as [kv_heads, n, head_dim] in memory of their own, as attention and sinks want them."""
    return qkv.q, qkv.k.transpose(0, 1).contiguous(), qkv.v.transpose(0, 1).contiguous()


def _hand_over(sink: KvSink, layer: int, own: tuple[Span, ...], k: Tensor, v: Tensor) -> int:
    done, handed = 0, 0
    for span in own:
        part = slice(done, done + span.tokens)
        if span.tokens > 0:
            sink.write(layer, span.start, k[:, part], v[:, part])
        done += span.tokens
        handed += 2 * k[:, part].numel() * k.element_size()
    return handed
