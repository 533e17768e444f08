"""What prompts cost in this group: measured when it forms with new members, and corrected by what prompts took."""

from __future__ import annotations

import logging
from dataclasses import asdict

from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import AttentionKind, PrefillMode
from csps_engine.csa.settings import CsaSettings
from csps_engine.loop.epoch_work import Epoch
from csps_engine.model.llama import Llama
from csps_engine.pipeline.calibration import measure_speeds
from csps_engine.pipeline.cost import Speeds
from csps_engine.pipeline.forecast import Forecast
from csps_engine.pipeline.sparse_cost import may_thin

log = logging.getLogger(__name__)

GROUPS_KEPT = 8
NEWEST_SHARE = 0.2
"""Weight of the newest prompt in the correction."""
WORST_CORRECTION = 20.0


class PrefillCosts:
    """On the engine thread. Ranks measure together; the coordinator alone plans by what is said here."""

    def __init__(self, model: Llama, mode: PrefillMode, sparse: CsaSettings | None = None) -> None:
        self._model = model
        self._sparse = sparse
        self._mode: PrefillMode = mode
        self._known: dict[tuple[str, ...], Speeds] = {}
        self._members: tuple[str, ...] = ()
        self._corrections: dict[AttentionKind, float] = {}
        self._forecast = self._forecast_by(None)

    @property
    def measured(self) -> bool:
        """Whether these members measured once; a rank alone has nothing to choose."""
        return len(self._members) == 1 or self._members in self._known

    def start_epoch(self, epoch: Epoch) -> None:
        """Plan for these members; what they measured in an earlier epoch holds."""
        self._members = tuple(member.incarnation for member in epoch.members)
        self._corrections = {}
        self._forecast = self._forecast_by(self._known.get(self._members))

    def measure(self, mesh: Mesh) -> None:
        """Collective."""
        speeds = measure_speeds(self._model, mesh)
        self._known = dict([*self._known.items(), (self._members, speeds)][-GROUPS_KEPT:])
        self._forecast = self._forecast_by(speeds)
        log.info("measured the ranks and links of the group", extra={"fields": asdict(speeds)})

    def pieces(self, tokens: int, ranks: int) -> int:
        """See Forecast."""
        return self._forecast.pieces(tokens, ranks)

    def attention(self, tokens: int, ranks: int, asked: AttentionKind | None = None) -> AttentionKind:
        """Of a prompt: sparse where that is allowed, and asked for or worth it."""
        if self._sparse is None or asked == "dense":
            return "dense"
        return asked or self._forecast.attention(tokens, ranks, self._sparse)

    def seconds(self, tokens: int, ranks: int) -> float:
        """Of computing a prompt exactly."""
        return self._model.config.layers * self.layer_seconds(tokens, ranks)

    def layer_seconds(self, tokens: int, ranks: int, attention: AttentionKind = "dense") -> float:
        """Of one of its layers, attended to so."""
        kind, settings = self._as_computed(tokens, ranks, attention)
        return self._correction(kind) * self._forecast.layer_seconds(tokens, ranks, settings)

    def took(self, tokens: int, ranks: int, attention: AttentionKind, layer_seconds: float) -> None:
        """A prompt was computed; `layer_seconds` is the mean of its layers."""
        kind, settings = self._as_computed(tokens, ranks, attention)
        ratio = layer_seconds / self._forecast.layer_seconds(tokens, ranks, settings)
        bounded = min(WORST_CORRECTION, max(1 / WORST_CORRECTION, ratio))
        before = self._correction(kind)
        self._corrections[kind] = before + NEWEST_SHARE * (bounded - before)

    def _correction(self, kind: AttentionKind) -> float:
        """By kind, for what is fetched and read depends on the text; as the other's while there was none of a kind."""
        other: AttentionKind = "dense" if kind == "sparse" else "sparse"
        return self._corrections.get(kind, self._corrections.get(other, 1.0))

    def _as_computed(self, tokens: int, ranks: int, asked: AttentionKind) -> tuple[AttentionKind, CsaSettings | None]:
        """How such a prompt is attended to indeed."""
        if self._sparse is None or asked == "dense" or not may_thin(tokens, ranks, self._sparse):
            return "dense", None
        return "sparse", self._sparse

    def _forecast_by(self, speeds: Speeds | None) -> Forecast:
        return Forecast(self._model.config, self._model.dtype.itemsize, self._mode, speeds)
