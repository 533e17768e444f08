"""What the scheduler asks of the compute pipelines, and what they answer.

Positions are absolute: token i of a request (prompt and output alike) has position i. The KV of a request is
cut into pages of `page_tokens` tokens; page p holds positions [p*page_tokens, (p+1)*page_tokens).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor

PAGE_TOKENS = 64
"""Tokens in a KV page, and the alignment of every cut of a prompt between ranks."""

MAX_TOP_LOGPROBS = 20

PrefillMode = Literal["auto", "allToAll", "kvGather"]

ExactMode = Literal["allToAll", "kvGather", "local"]
"""A mode as chosen; local: one rank has all tokens."""

AttentionKind = Literal["dense", "sparse"]
"""dense: exact. sparse: keys of other ranks are fetched by their worth (the `csa` package); an approximation."""

Progress = Callable[[int, int], None]
"""Called as (layers_done, layers) after each layer of a prefill."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is drawn from logits. The draw at position p is keyed by (seed, p), so a retry repeats it."""

    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    seed: int = 0
    logprobs: int = 0
    """How many of the likeliest tokens to report beside the chosen one."""
    want_logprobs: bool = False

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(f"temperature must be 0 or more, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], not {self.top_p}")
        if not 0 <= self.logprobs <= MAX_TOP_LOGPROBS:
            raise ValueError(f"logprobs must be in [0, {MAX_TOP_LOGPROBS}], not {self.logprobs}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, not {self.seed}")


@dataclass(frozen=True, slots=True)
class SampledToken:
    """One drawn token; `top` holds (token id, log-probability) in falling order.

    Log-probabilities are those of the model (temperature 1, no top-p); `logprob` is 0 and `top` empty when the
    request did not ask for them.
    """

    token_id: int
    logprob: float = 0.0
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class PrefillJob:
    """One prompt, known in full to every rank of the group."""

    request_id: str
    token_ids: tuple[int, ...]
    sampling: Sampling = Sampling()
    mode: PrefillMode = "auto"
    attention: AttentionKind = "dense"

    def __post_init__(self) -> None:
        if not self.token_ids:
            raise ValueError("a prompt needs at least one token")


@dataclass(frozen=True, slots=True)
class SparseReport:
    """What sparse attention moved and covered in one prefill. Bytes are this rank's own, shares of all ranks."""

    layers: int
    """Layers computed sparsely; what follows is about them alone."""
    fetched_bytes: int
    """K and V that came from other ranks, as they were written for the link."""
    available_bytes: int
    """K and V of other ranks that this rank's queries may see, as the model holds them."""
    fetched_rows: int
    """Keys that came, by KV head."""
    available_rows: int
    """Keys of other ranks that this rank's queries may see, by KV head."""
    level_bytes: tuple[int, ...]
    """Part of fetched_bytes that was chosen, by level; the rest came unasked."""
    cut_blocks: int
    """Blocks that were wanted but passed a budget, over KV heads and layers."""
    audited: int
    """(query, head, layer) triples of all ranks whose exact attention mass was taken."""
    mass_mean: float
    """Mean share of their attention mass that was covered."""
    mass_p01: float
    """The share that 99 in 100 of them reached, down to a thousandth."""

    @property
    def skipped_bytes(self) -> int:
        """K and V that the exact path would have fetched."""
        return self.available_bytes - self.fetched_bytes


@dataclass(frozen=True, slots=True)
class PrefillResult:
    """What every rank knows after a prefill; the byte counts are this rank's own."""

    sampled: SampledToken
    """The token at position len(token_ids)."""
    mode: ExactMode
    kv_bytes: int
    """KV handed to the sink by this rank."""
    sent_bytes: int
    """Tensor payload this rank sent to its peers."""
    sparse: SparseReport | None = None
    """None when every layer was exact."""


class Place(NamedTuple):
    """Where one page lives: a rank of the mesh and a slot of its KV pool."""

    rank: int
    slot: int


@dataclass(frozen=True, slots=True)
class PageTable:
    """Where a request's pages live, in order. `length` tokens have KV; the last page may be partly filled."""

    places: Sequence[Place]
    length: int
    page_tokens: int = PAGE_TOKENS

    def __post_init__(self) -> None:
        if self.length > len(self.places) * self.page_tokens:
            raise ValueError(f"{len(self.places)} pages cannot hold {self.length} tokens")

    def tail(self, position: int) -> Place:
        """The place of the page that holds `position`."""
        return self.places[position // self.page_tokens]


@dataclass(frozen=True, slots=True)
class DecodeRow:
    """One token of one request in a decode step.

    The step writes the KV of `token_id` at `position` (== the table's length, so its page must already have a
    place) and samples the token at position + 1.
    """

    request_id: str
    home: int
    """Mesh rank that runs the dense layers and samples."""
    token_id: int
    position: int
    sampling: Sampling = Sampling()


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The rows of one decode step, the same on every rank of the mesh. At most one row per request."""

    rows: tuple[DecodeRow, ...]

    def __post_init__(self) -> None:
        if len({row.request_id for row in self.rows}) != len(self.rows):
            raise ValueError("a request appears twice in one step")


@dataclass(frozen=True, slots=True)
class ChoiceReport:
    """What one step read of one request where it chose blocks; of all holders."""

    read_tokens: int
    """Keys of full pages that were read, over layers and KV heads."""
    skipped_tokens: int
    """Those that were left out."""
    left_bound: float
    """Mean over heads, in one layer, of the share of attention that what was not read can have at most."""
    covered: float
    """Mean over heads, in the same layer, of the share of attention that what was read has indeed."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What was sampled, by request id, the same on every rank."""

    sampled: Mapping[str, SampledToken]
    chosen: Mapping[str, ChoiceReport] = field(default_factory=dict)
    """Of requests of which blocks were chosen, by id."""


class KvSink(Protocol):
    """Takes the KV of a prompt from a prefill rank, layer by layer."""

    def write(self, layer: int, first_token: int, k: Tensor, v: Tensor) -> None:
        """Take k and v [kv_heads, n, head_dim] of positions [first_token, first_token + n).

        `first_token` starts a page. The tensors are the sink's from now on: nobody writes to them again. Must
        not block on the network: the caller computes the next layer.
        """
        ...

    def flush(self) -> None:
        """Wait until everything written was acknowledged. Called by the pipeline's caller, not by it."""
        ...
