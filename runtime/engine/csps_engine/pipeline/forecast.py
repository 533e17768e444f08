"""What a prompt costs on so many ranks of a group, and in how many pieces its layers are exchanged there.

By the cost model from speeds that were measured on the whole group; a part of it has at least as much of the link.
"""

from __future__ import annotations

from functools import lru_cache

from csps_engine.core.plan import AttentionKind, PrefillMode
from csps_engine.csa.settings import CsaSettings
from csps_engine.model.config import ModelConfig
from csps_engine.pipeline.cost import FixedPieces, Speeds, best_pieces, layer_seconds, layer_work
from csps_engine.pipeline.mode import choose_mode
from csps_engine.pipeline.pieces import piece_counts
from csps_engine.pipeline.sparse_cost import ByCost, Spread, attention_kind, may_thin, sparse_layer_seconds, sparse_work

UNMEASURED = Speeds(2e10, 2e10, 1e9, 1e-3, 1e-4)
"""Of some machine, until this one's are known: enough to tell a long prompt from a short one."""
KEPT = 4096
"""Answers that are remembered."""


class Forecast:
    """For one model and the form of attention that its group was told to use."""

    def __init__(self, config: ModelConfig, element_bytes: int, asked: PrefillMode, speeds: Speeds | None) -> None:
        self._config = config
        self._element_bytes = element_bytes
        self._asked = asked
        self._speeds = speeds
        # Asked again in every tick for whatever waits.
        self._layer = lru_cache(KEPT)(self._plan)
        self._thin = lru_cache(KEPT)(self._thinned)

    def pieces(self, tokens: int, ranks: int) -> int:
        """Pieces of a layer's exchange; 1 while nothing is measured, for then none is known to pay."""
        return self._layer(tokens, ranks)[0]

    def attention(self, tokens: int, ranks: int, settings: CsaSettings) -> AttentionKind:
        """Sparse where that is worth it, and where nothing is measured yet."""
        prompt = Spread(self._config, self._element_bytes, self._asked, tokens, ranks)
        return attention_kind(prompt, settings, FixedPieces(1) if self._speeds is None else ByCost(self._speeds))

    def layer_seconds(self, tokens: int, ranks: int, thinned: CsaSettings | None = None) -> float:
        """Of one layer, so exchanged; by `thinned`, where they thin such a prompt, the mean of all layers."""
        if thinned is None or not may_thin(tokens, ranks, thinned):
            return self._layer(tokens, ranks)[1]
        return self._thin(tokens, ranks, thinned)

    def seconds(self, tokens: int, ranks: int) -> float:
        """Of all layers."""
        return self._config.layers * self.layer_seconds(tokens, ranks)

    def _thinned(self, tokens: int, ranks: int, settings: CsaSettings) -> float:
        work = sparse_work(self._config, tokens, ranks, self._element_bytes, settings)
        sparse = sparse_layer_seconds(work, self._speeds or UNMEASURED, tokens / ranks)
        exact = min(1.0, settings.dense_layers / self._config.layers)
        return exact * self._layer(tokens, ranks)[1] + (1 - exact) * sparse

    def _plan(self, tokens: int, ranks: int) -> tuple[int, float]:
        mode = choose_mode(self._config, ranks, self._asked)
        work = layer_work(self._config, mode, tokens, ranks, self._element_bytes)
        if self._speeds is None:
            return 1, layer_seconds(work, UNMEASURED, 1)
        pieces = best_pieces(work, self._speeds, piece_counts(self._config, mode, tokens, ranks))
        return pieces, layer_seconds(work, self._speeds, pieces)
