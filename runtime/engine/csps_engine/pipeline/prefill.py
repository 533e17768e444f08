"""Prefill of one prompt by all ranks of a mesh; exact dense attention, or sparse where the job asks for it.

A PrefillRun goes layer by layer, so that its caller may do something else between two layers.

x = embed(own tokens)
for each layer:  q, k, v = own tokens;  attention over all tokens (the one step that communicates);
                 own k, v go to the sink;  x = finish(x, attention)
the owner of the last token samples; every rank learns the token
"""

from __future__ import annotations

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
from csps_engine.pipeline.mode import ModeError, choose_mode
from csps_engine.pipeline.partition import Span
from csps_engine.pipeline.pieces import piece_counts
from csps_engine.pipeline.prefix_attention import Beginning, PrefixAttention
from csps_engine.pipeline.sparse_cost import Spread, attention_kind
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


class PrefillRun:
    """One prompt on one rank, under way. `step` and `finish` are collective."""

    def __init__(self, model: Llama, mesh: Mesh, attention: PrefillAttention, job: PrefillJob, sink: KvSink) -> None:
        self._model = model
        self._mesh = mesh
        self._attention = attention
        self._job = job
        self._sink = sink
        self._kv_bytes = 0
        self._sent_bytes = 0
        self.layers_done = 0
        with torch.inference_mode():
            self._x, self._turn = self._enter()

    @property
    def layers(self) -> int:
        return self._model.config.layers

    def step(self) -> None:
        """Compute the next layer and hand its KV over."""
        model, layer, own = self._model, self.layers_done, self._attention.own
        sent_before = self._mesh.sent_bytes
        with torch.inference_mode():
            q, k, v = _head_major(model.qkv(layer, self._x, self._turn))
            self._kv_bytes += _hand_over(self._sink, layer, own, k, v)
            attended = self._attention.attend(q, k, v)
            # Of a long prompt tens of megabytes, and what comes now needs room too.
            del q, k, v
            if layer == self.layers - 1:
                # Nothing after the last layer reads any token but the last, whose owner holds it last.
                self._x, attended = self._x[-1:], attended[-1:]
            model.finish(layer, self._x, attended)
        self._sent_bytes += self._mesh.sent_bytes - sent_before
        self.layers_done += 1

    def finish(self) -> PrefillResult:
        """After the last layer: sample the token after the prompt; every rank learns it."""
        mesh = self._mesh
        sent_before = mesh.sent_bytes
        with torch.inference_mode():
            sampled = self._sample(self._attention.last_owner)
            sparse = self._attention.report() if isinstance(self._attention, CsaAttention) else None
        self._sent_bytes += mesh.sent_bytes - sent_before
        mode: ExactMode = "local" if mesh.size == 1 else "kvGather"
        if isinstance(self._attention, AllToAllAttention):
            mode = "allToAll"
        return PrefillResult(sampled, mode, self._kv_bytes, self._sent_bytes, sparse)

    def _enter(self) -> tuple[Tensor, Tensor]:
        positions = torch.cat([torch.arange(span.start, span.stop) for span in self._attention.own])
        ids = torch.tensor(self._job.token_ids)[positions].to(self._model.device)
        return self._model.embed(ids), self._model.turn(positions.to(self._model.device))

    def _sample(self, owner: int) -> SampledToken:
        job, mine = self._job, []
        if self._mesh.rank == owner:
            mine.append(sample(self._model.logits(self._x[-1:])[0], job.sampling, len(job.token_ids)))
        counts = [int(rank == owner) for rank in range(self._mesh.size)]
        return share_tokens(self._mesh, mine, counts, job.sampling.logprobs)[owner][0]


class PrefillRunner:
    """Runs prompts one after another on one rank; `pieces` says how exchange and computation overlap."""

    def __init__(self, model: Llama, mesh: Mesh, csa: CsaSettings = DEFAULT_CSA, pieces: PieceRule = WHOLE) -> None:
        self._model = model
        self._mesh = mesh
        self._csa = csa
        self._pieces = pieces

    def begin(self, job: PrefillJob, sink: KvSink, beginning: Beginning | None = None) -> PrefillRun:
        """A run that has computed nothing yet. Raises ModeError on every rank alike.

        Of a prompt with a known `beginning` only what follows is computed, and exactly.
        """
        mesh = self._mesh
        if beginning is not None:
            known = PrefixAttention(mesh, len(job.token_ids), beginning)
            return PrefillRun(self._model, mesh, known, job, sink)
        attention: PrefillAttention | None = self._sparse(job)
        if attention is None:
            mode = choose_mode(self._model.config, mesh.size, job.mode)
            attention = self._exact(mode, len(job.token_ids))
        return PrefillRun(self._model, mesh, attention, job, sink)

    def run(self, job: PrefillJob, sink: KvSink, progress: Progress | None = None) -> PrefillResult:
        """Compute the prompt's KV and sample the token after it. Collective; every rank passes the same job."""
        return _to_its_end(self.begin(job, sink), progress)

    def run_with(
        self, attention: PrefillAttention, job: PrefillJob, sink: KvSink, progress: Progress | None = None
    ) -> PrefillResult:
        """The same with an attention of the caller's; the result's mode is then only a guess."""
        return _to_its_end(PrefillRun(self._model, self._mesh, attention, job, sink), progress)

    def _sparse(self, job: PrefillJob) -> CsaAttention | None:
        """Sparse attention if the job asks for it and it is worth it for a prompt of this length."""
        if job.attention == "dense":
            return None
        if job.mode == "allToAll":
            raise ModeError("sparse attention moves keys and values; it has no allToAll form")
        model, mesh, tokens = self._model, self._mesh, len(job.token_ids)
        spread = Spread(model.config, model.dtype.itemsize, job.mode, tokens, mesh.size)
        if attention_kind(spread, self._csa, self._pieces) == "dense":
            return None
        try:
            return CsaAttention(mesh, tokens, self._csa)
        except CsaError as error:
            raise ModeError(str(error)) from error

    def _exact(self, mode: ExactMode, tokens: int) -> PrefillAttention:
        mesh, config = self._mesh, self._model.config
        if mode == "local":
            return KvGatherAttention(mesh, tokens)
        work = layer_work(config, mode, tokens, mesh.size, self._model.dtype.itemsize)
        pieces = self._pieces.choose(work, piece_counts(config, mode, tokens, mesh.size))
        if mode == "kvGather":
            return KvGatherAttention(mesh, tokens, pieces)
        return AllToAllAttention(config, mesh, tokens, pieces)


def _to_its_end(run: PrefillRun, progress: Progress | None) -> PrefillResult:
    while run.layers_done < run.layers:
        run.step()
        if progress is not None:
            progress(run.layers_done, run.layers)
    return run.finish()


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
