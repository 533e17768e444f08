"""How a prefill group computes prompts whose requests don't say."""

from __future__ import annotations

import math
from dataclasses import dataclass

from csps_engine.core.plan import PrefillMode
from csps_engine.csa.settings import CsaSettings


@dataclass(frozen=True, slots=True)
class PrefillPolicy:
    mode: PrefillMode = "auto"
    sparse: CsaSettings | None = None
    """None: attention is exact."""
    layer_limit_seconds: float = math.inf
    """Longer than this no part of the group may be at one layer, for the others wait for it in every tick."""
