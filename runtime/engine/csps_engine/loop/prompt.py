"""A prompt that a prefill group has begun, as its coordinator knows it."""

from __future__ import annotations

from dataclasses import dataclass

from csps_engine.core.plan import AttentionKind
from csps_engine.loop.first_tokens import FirstToken
from csps_engine.loop.prefill_queue import PrefillTask
from csps_engine.loop.prefill_run import ANY_LAYERS
from csps_engine.scheduler.assign import YIELD_SHARE


@dataclass(slots=True)
class Prompt:
    """One that was begun."""

    task: PrefillTask
    ranks: tuple[int, ...]
    layers: int
    layer_seconds: float
    """Expected of the next ones."""
    taken_at: float
    pass_name: str
    """That of the prompt that all of its pass joined; its own when it is alone."""
    pass_tokens: int
    """Computed in its pass."""
    seconds: float
    """Expected of all layers when it began."""
    attention: AttentionKind = "dense"
    """As which it is computed."""
    before: bool = False
    """It goes before what else its ranks are at."""
    spent: float = 0.0
    """Seconds of computing so far."""
    yielded: float = 0.0
    """Seconds for which others went before it."""
    layers_done: int = 0
    computed_at: float | None = None
    reused_tokens: int = 0
    """Of its beginning, whose KV is read from the pool."""
    ready_layers: int = ANY_LAYERS
    """Next ones whose part of the beginning has come."""
    first_token: FirstToken | None = None

    @property
    def layers_left(self) -> int:
        return self.layers - self.layers_done

    @property
    def seconds_left(self) -> float:
        return self.layers_left * self.layer_seconds

    @property
    def yields(self) -> float:
        """Seconds for which others may still go before it."""
        return 0.0 if self.before else max(0.0, YIELD_SHARE * self.seconds - self.yielded)
