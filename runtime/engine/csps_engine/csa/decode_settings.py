"""Settings of block selection in decode, checked when made; the same on every rank of a pool."""

from __future__ import annotations

import math
from dataclasses import dataclass

from csps_engine.core.plan import PAGE_TOKENS
from csps_engine.csa.settings import CsaError


@dataclass(frozen=True, slots=True)
class DecodeChoice:
    """Which blocks of a request's KV a step reads. What is said of pages here is read whatever it weighs."""

    share: float = 0.2
    """Blocks are left out that are expected, as their digests tell, to weigh no more than this share of the weightiest
    one even if all of the request were such blocks; at 0 none is."""
    min_tokens: int = 2048
    """Requests of fewer tokens are read whole."""
    dense_layers: int = 2
    """First layers in which all is read."""
    sink_pages: int = 1
    """First pages of a request."""
    recent_pages: int = 2
    """Pages before the one that grows, which is read itself."""
    block_tokens: int = 32
    """Tokens that one digest describes and that are read together."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise CsaError(f"share must be in [0, 1], not {self.share}")
        if self.min_tokens < 1:
            raise CsaError(f"min_tokens must be 1 or more, not {self.min_tokens}")
        for field in ("dense_layers", "sink_pages", "recent_pages"):
            if getattr(self, field) < 0:
                raise CsaError(f"{field} must be 0 or more, not {getattr(self, field)}")
        if self.block_tokens < 1 or PAGE_TOKENS % self.block_tokens != 0:
            raise CsaError(f"block_tokens must divide a page of {PAGE_TOKENS} tokens, not {self.block_tokens}")

    def floor(self, blocks: int) -> float:
        """How far below the largest the logarithm of a block's weight may be, of so many full blocks of a request."""
        return math.log(self.share / max(1, blocks)) if self.share > 0 else -math.inf

    def always(self, page: int, growing: int) -> bool:
        """Whether a page is read whatever it weighs, given the page that grows."""
        return page < self.sink_pages or page >= growing - self.recent_pages
