"""Several short prompts computed in one pass by one rank, so that it reads the weights once for all of them.

Every prompt attends to its own tokens alone, so its KV and its first token are those that it has by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from csps_engine.attention.attend import attend
from csps_engine.core.plan import KvSink, PrefillJob, PrefillResult
from csps_engine.model.llama import Llama
from csps_engine.sampling import sample


class PromptPass:
    """One pass over the tokens of all prompts, one after another."""

    def __init__(self, model: Llama, jobs: Sequence[PrefillJob], sinks: Sequence[KvSink]) -> None:
        self._model = model
        self._jobs = jobs
        self._sinks: list[KvSink | None] = list(sinks)
        self._counts = [len(job.token_ids) for job in jobs]
        self._logits: Tensor | None = None
        self.layers_done = 0
        ids = [token for job in jobs for token in job.token_ids]
        positions = [position for count in self._counts for position in range(count)]
        with torch.inference_mode():
            self._x = model.embed(torch.tensor(ids, device=model.device))
            self._turn = model.turn(torch.tensor(positions, device=model.device))

    @property
    def layers(self) -> int:
        return self._model.config.layers

    def members(self) -> list[PassMember]:
        """The prompts, in order."""
        return [PassMember(self, number) for number in range(len(self._jobs))]

    def step(self) -> None:
        """Compute the next layer of all prompts and hand their KV over."""
        model, layer = self._model, self.layers_done
        with torch.inference_mode():
            q, k, v = model.qkv(layer, self._x, self._turn)
            parts = zip(self._sinks, *(each.split(self._counts) for each in (q, k, v)), strict=True)
            attended = torch.cat([_attend(sink, layer, *part) for sink, *part in parts])
            if layer == self.layers - 1:
                # Nothing after the last layer reads any token but the last of each prompt.
                last = torch.tensor(self._counts, device=model.device).cumsum(0) - 1
                self._x, attended = self._x[last], attended[last]
            model.finish(layer, self._x, attended)
        self.layers_done += 1

    def result(self, number: int) -> PrefillResult:
        """Of one prompt, after the last layer."""
        job, config = self._jobs[number], self._model.config
        with torch.inference_mode():
            if self._logits is None:
                self._logits = self._model.logits(self._x)
            sampled = sample(self._logits[number], job.sampling, len(job.token_ids))
        elements = 2 * config.layers * config.kv_heads * config.head_dim * len(job.token_ids)
        return PrefillResult(sampled, "local", kv_bytes=elements * self._x.element_size(), sent_bytes=0)

    def drop(self, number: int) -> None:
        """Nobody takes the KV of this prompt any more."""
        self._sinks[number] = None


class PassMember:
    """One prompt of a pass: as a PrefillRun, but that its `step` is that of all of them."""

    def __init__(self, whole: PromptPass, number: int) -> None:
        self._whole = whole
        self._number = number

    @property
    def layers(self) -> int:
        return self._whole.layers

    @property
    def layers_done(self) -> int:
        return self._whole.layers_done

    def step(self) -> None:
        self._whole.step()

    def finish(self) -> PrefillResult:
        return self._whole.result(self._number)

    def leave(self) -> None:
        """The others go on without it."""
        self._whole.drop(self._number)


def _attend(sink: KvSink | None, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Output [n, H, D] of one prompt's q [n, H, D], k and v [n, K, D]."""
    own_k, own_v = (each.transpose(0, 1).contiguous() for each in (k, v))
    if sink is not None:
        sink.write(layer, 0, own_k, own_v)
    return attend(q.contiguous(), own_k, own_v, causal=True).out
