"""First tokens of prompts that some ranks have just computed, made known to all ranks of the group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import SampledToken, SparseReport
from csps_engine.loop.gathering import gather_numbers
from csps_engine.loop.prefill_run import RankRun
from csps_engine.pipeline.token_exchange import share_tokens
from csps_engine.wire.generated import SparseSummary

SHARE_SCALE = 10**9
"""Shares travel as whole numbers of so many."""
NUMBERS = 6
"""Of a sparse report, as it travels."""


@dataclass(frozen=True, slots=True)
class FirstToken:
    """Of one prompt, and what sparse attention did for it on the first of its ranks."""

    sampled: SampledToken
    sparse: SparseSummary | None


def share_first_tokens(mesh: Mesh, runs: Sequence[RankRun]) -> dict[str, FirstToken]:
    """By request; each is told by the first of its ranks. Collective, with the same runs on every rank."""
    speakers = [run.order.ranks[0] for run in runs]
    counts = [speakers.count(rank) for rank in range(mesh.size)]
    mine = [run.result.sampled for run in _told_by(mesh.rank, runs) if run.result is not None]
    shared = share_tokens(mesh, mine, counts, max(run.order.sampling.logprobs for run in runs))
    by_rank = [iter(tokens) for tokens in shared]
    sparse = _share_sparse(mesh, runs)
    return {
        run.order.request_id: FirstToken(next(by_rank[speaker]), sparse.get(run.order.request_id))
        for run, speaker in zip(runs, speakers, strict=True)
    }


def _told_by(rank: int, runs: Sequence[RankRun]) -> list[RankRun]:
    return [run for run in runs if run.order.ranks[0] == rank]


def _share_sparse(mesh: Mesh, runs: Sequence[RankRun]) -> dict[str, SparseSummary]:
    asked = [run for run in runs if run.order.attention == "sparse"]
    if not asked:
        return {}
    reports = [run.result.sparse if run.result is not None else None for run in asked]
    rows = gather_numbers(mesh, [number for report in reports for number in _numbers(report)])
    found = {}
    for at, run in enumerate(asked):
        row = rows[run.order.ranks[0]][NUMBERS * at : NUMBERS * (at + 1)]
        sparse, fetched, available, share, mean, low = row
        if sparse:
            found[run.order.request_id] = SparseSummary(
                fetched_bytes=fetched,
                available_bytes=available,
                fetched_share=min(1.0, share / SHARE_SCALE),
                mass_mean=min(1.0, mean / SHARE_SCALE),
                mass_p01=min(1.0, low / SHARE_SCALE),
            )
    return found


def _numbers(report: SparseReport | None) -> list[int]:
    if report is None:
        return [0] * NUMBERS
    fetched = report.fetched_rows / max(1, report.available_rows)
    shares = [int(SHARE_SCALE * share) for share in (fetched, report.mass_mean, report.mass_p01)]
    return [1, report.fetched_bytes, report.available_bytes, *shares]
