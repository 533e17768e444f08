"""Sampled tokens as rows of numbers, so that one gather tells every rank what each home sampled."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import SampledToken


def share_tokens(mesh: Mesh, mine: Sequence[SampledToken], counts: Sequence[int], top: int) -> list[list[SampledToken]]:
    """Give this rank's tokens to all; counts[r] is how many rank r gives, `top` the longest list of likeliest tokens.

    Returns the tokens of each rank, in its order.
    """
    if mesh.size == 1:
        return [list(mine)]
    # fp64 holds token ids and log-probabilities exactly; unused cells have id -1.
    rows = torch.full((max(counts), 2 + 2 * top), -1.0, dtype=torch.float64)
    for row, token in zip(rows, mine, strict=False):
        pairs = [value for pair in token.top for value in pair]
        row[: 2 + len(pairs)] = torch.tensor([token.token_id, token.logprob, *pairs], dtype=torch.float64)
    gathered = torch.empty((mesh.size, *rows.shape), dtype=torch.float64, device=mesh.device)
    mesh.all_gather_into(gathered, rows.to(mesh.device)).wait()
    return [[_token(row) for row in part[:count]] for part, count in zip(gathered.tolist(), counts, strict=True)]


def _token(row: list[float]) -> SampledToken:
    pairs = zip(row[2::2], row[3::2], strict=True)
    return SampledToken(int(row[0]), row[1], tuple((int(i), logprob) for i, logprob in pairs if i >= 0))
