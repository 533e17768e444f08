"""How soon a rank serves that starts from nothing, and the memory that it takes then and at work."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.started_rank import ANSWER_S, StartedRank
from csps_engine.model.load import load_model
from csps_engine.model.weights import WeightForm

KV_BYTES = 512 * 2**20
ROLES = ("decode", "prefill")
GREEDY = {"temperature": 0, "topP": 1, "seed": 0, "logprobs": 0, "wantLogprobs": False}
NEW_TOKENS = 16


@dataclass(frozen=True, slots=True)
class StandingStart:
    """One start of a group of one rank, and its part of one prompt."""

    role: str
    ready_s: float
    """From the start of the process until it serves in an epoch."""
    cpu_s: float
    weight_bytes: int
    """Of the matrices in the form in which this role holds them."""
    resident_bytes: int
    """When it serves, before any KV is written."""
    library_bytes: int
    """Of these, pages of libraries and other files."""
    prompt: int
    """Tokens of the prompt that was served then; 0: none."""
    kv_bytes: int
    """Of the prompt, where it stays: on a decode rank."""
    peak_bytes: int
    """Most that was resident from then on until the last token."""

    @property
    def beyond_bytes(self) -> int:
        """Resident memory beyond the weights; no KV was written."""
        return self.resident_bytes - self.weight_bytes

    @property
    def peak_beyond_bytes(self) -> int:
        """The most beyond weights and KV."""
        return self.peak_bytes - self.weight_bytes - self.kv_bytes

    def told(self) -> dict[str, Any]:
        beyond = {"beyond_bytes": self.beyond_bytes, "peak_beyond_bytes": self.peak_beyond_bytes}
        return {**asdict(self), **beyond}

    def line(self) -> str:
        sizes = (self.resident_bytes, self.beyond_bytes, self.library_bytes, self.peak_beyond_bytes, self.kv_bytes)
        resident, beyond, library, peak, kv = (f"{size / 1e6:.0f} MB" for size in sizes)
        start = f"{self.role} rank: ready after {self.ready_s:.1f} s ({self.cpu_s:.1f} s of CPU)"
        idle = (
            f"{resident} resident before any KV is written, {beyond} beyond its weights, {library} of them file pages"
        )
        work = f"at most {peak} beyond weights and {kv} of KV while it served {self.prompt} tokens"
        return "; ".join([start, idle, work] if self.prompt else [start, idle])


def measure_starts(model_file: Path, prompt: Sequence[int]) -> list[StandingStart]:
    """Starts a rank of each role, one after the other, and lets them serve the prompt, if it is not empty.

    Raises RuntimeError when a rank ends, or does not serve.
    """
    models = {role: load_model(model_file, WeightForm(packed=role == "decode")) for role in ROLES}
    weights = {role: model.weights.matrix_bytes() for role, model in models.items()}
    shape = models["decode"].config.kv_shape("float32")
    del models
    with tempfile.TemporaryDirectory() as folder, StartedRank(Path(folder), model_file, "decode", KV_BYTES) as pool:
        ready = {"decode": pool.serve()}
        with StartedRank(Path(folder), model_file, "prefill", KV_BYTES) as group:
            ready["prefill"] = group.serve()
            ranks = {"decode": pool, "prefill": group}
            idle = {role: rank.memory() for role, rank in ranks.items()}
            for rank in ranks.values():
                rank.forget_peak()
            if prompt:
                serve_prompt(group, pool, prompt)
            peaks = {role: rank.memory()["peak"] for role, rank in ranks.items()}
    pages = -(-(len(prompt) + NEW_TOKENS) // shape.page_tokens) if prompt else 0
    return [
        StandingStart(
            role,
            *ready[role],
            weights[role],
            idle[role]["now"],
            idle[role]["files"],
            len(prompt),
            pages * shape.page_bytes() if role == "decode" else 0,
            peaks[role],
        )
        for role in ROLES
    ]


def serve_prompt(group: StartedRank, pool: StartedRank, prompt: Sequence[int]) -> list[int]:
    """A gateway's part of one request; answers its tokens. Raises RuntimeError."""
    name = {"requestId": "bench", "promptTokens": len(prompt)}
    milliseconds = ANSWER_S * 1000
    reservation = pool.ask("/v1/reserve", {**name, "maxNewTokens": NEW_TOKENS, "leaseMs": milliseconds})
    prefill = {"requestId": "bench", "tokenIds": list(prompt), "sampling": GREEDY, "reservation": reservation}
    (first,) = group.tokens("/v1/prefill", {**prefill, "deadlineMs": milliseconds})
    decode = {**name, "firstToken": first, "sampling": GREEDY, "maxNewTokens": NEW_TOKENS - 1, "stopTokenIds": []}
    return [first, *pool.tokens("/v1/decode", {**decode, "shareable": False})]
