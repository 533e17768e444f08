"""A rank that can't start shows it, so that it is restarted."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

import csps_engine.server.rank as ranks
from csps_engine.config import EngineConfig
from csps_engine.loop.reports import NO_REPORTS
from csps_engine.server.crew import Crew


def test_a_fault_between_the_model_and_the_first_epoch_shows_in_its_health(
    config: EngineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "load", lambda *_: SimpleNamespace(shard=None))
    monkeypatch.setattr(ranks.Rank, "_make_work", lambda *_: None)
    monkeypatch.setattr(ranks, "settle", lambda: None)
    monkeypatch.setattr(ranks.EngineThread, "start", lambda _: _no_more_threads())
    monkeypatch.setattr(ranks.Rank, "work", SimpleNamespace(load=None))

    async def scene() -> None:
        rank = ranks.Rank(config, Crew([], 1.0), lambda _: NO_REPORTS)
        await asyncio.wait({asyncio.ensure_future(rank.bring_up())}, timeout=30)
        assert "can't start new thread" in rank.standing.failed
        await rank.close()

    asyncio.run(scene())


def _no_more_threads() -> None:
    raise RuntimeError("can't start new thread")
