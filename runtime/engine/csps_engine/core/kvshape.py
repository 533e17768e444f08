"""Shape of the KV of one model: what a pool stores and what a transfer carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from csps_engine.core.plan import PAGE_TOKENS

DtypeName = Literal["float32", "bfloat16", "float16"]
DTYPE_BYTES: dict[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class KvShape:
    """Keys are stored after RoPE, in the interleaved-pairs layout.

    Where a rank is several processes, this is one's part: its own KV heads, sent to its like in other ranks.
    """

    layers: int
    kv_heads: int
    head_dim: int
    dtype: DtypeName
    page_tokens: int = PAGE_TOKENS
    tensor_rank: int = 0
    """Number of the process that holds these heads; its transfer port is so many above its rank's."""
    tensor_degree: int = 1
    """Processes that the rank is."""

    def token_layer_bytes(self) -> int:
        """Bytes of K and V of one token in one layer."""
        return 2 * self.kv_heads * self.head_dim * DTYPE_BYTES[self.dtype]

    def page_bytes(self) -> int:
        """Bytes of K and V of one full page over all layers."""
        return self.token_layer_bytes() * self.page_tokens * self.layers

    def rank_page_bytes(self) -> int:
        """The same over all processes of a rank."""
        return self.page_bytes() * self.tensor_degree

    def format(self) -> str:
        """Two ranks may exchange pages only if these strings are equal."""
        return f"paged1/{self.dtype}/l{self.layers}/h{self.kv_heads}/d{self.head_dim}/t{self.page_tokens}/pairs"
