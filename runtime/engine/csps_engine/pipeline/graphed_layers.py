"""The dense work of a decode step as recordings: what lies between two exchanges is one call.

    first:  q, k, v of layer 0       after layer l:  x = finish(l, x, attended);  q, k, v of layer l + 1
Attention is not recorded: it waits for other ranks, and its shapes follow the requests. Rows are padded to a size that
was recorded; what the padding holds reaches no row, since every piece works row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from csps_engine.kernels.graphs import Outputs, Recorder, Recording, bucket_for
from csps_engine.model.llama import Llama
from csps_engine.pipeline.decode_attention import StepAttention


@dataclass(frozen=True, slots=True)
class _Recorded:
    """Recordings for one number of rows, and the tensors that they read."""

    x: Tensor  # [rows, hidden]
    turn: Tensor  # [rows, …]
    attended: Tensor  # [rows, H, D]
    first: Recording
    after: tuple[Recording, ...]


class GraphedLayers:
    """Recorded at once for every size, so that no step waits for a recording. Made before the model serves."""

    def __init__(self, model: Llama, recorder: Recorder, sizes: Sequence[int]) -> None:
        """`sizes` rising. The model must not be a part of a tensor group, whose sums would be recorded too."""
        self._model = model
        self._sizes = tuple(sizes)
        with torch.inference_mode():
            # The largest first: smaller ones find room in the memory that it took.
            self._recorded = {rows: self._record(recorder, rows) for rows in reversed(self._sizes)}

    def run(self, x: Tensor, turn: Tensor, attention: StepAttention) -> Tensor | None:
        """Residual stream [n, hidden] after all layers; None for a number of rows that was not recorded.

        It lies in memory that the next run overwrites.
        """
        rows = x.shape[0]
        size = bucket_for(rows, self._sizes)
        if size is None:
            return None
        recorded = self._recorded[size]
        recorded.x[:rows].copy_(x)
        recorded.turn[:rows].copy_(turn)
        piece = recorded.first
        piece.replay()
        for layer, after in enumerate(recorded.after):
            q, k, v = (part[:rows] for part in piece.outputs)
            recorded.attended[:rows].copy_(attention.attend(layer, q, k, v))
            piece = after
            piece.replay()
        return recorded.x[:rows]

    def _record(self, recorder: Recorder, rows: int) -> _Recorded:
        c, device, dtype = self._model.config, self._model.device, self._model.dtype
        x = torch.zeros(rows, c.hidden, dtype=dtype, device=device)
        turn = self._model.turn(torch.zeros(rows, dtype=torch.long, device=device)).clone()
        attended = torch.zeros(rows, c.heads, c.head_dim, dtype=dtype, device=device)
        first = recorder.record(partial(self._start, x, turn))
        after = tuple(recorder.record(partial(self._after, layer, x, turn, attended)) for layer in range(c.layers))
        return _Recorded(x, turn, attended, first, after)

    def _start(self, x: Tensor, turn: Tensor) -> Outputs:
        return tuple(self._model.qkv(0, x, turn))

    def _after(self, layer: int, x: Tensor, turn: Tensor, attended: Tensor) -> Outputs:
        """Changes x; the queries, keys and values of the next layer, none after the last."""
        self._model.finish(layer, x, attended)
        return tuple(self._model.qkv(layer + 1, x, turn)) if layer + 1 < self._model.config.layers else ()
