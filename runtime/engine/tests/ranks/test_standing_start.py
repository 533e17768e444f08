"""The bench that starts ranks from nothing and looks at their memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_model import Oracle, prompt_of

from bench.standing_start import NEW_TOKENS, StandingStart, serve_prompt
from bench.started_rank import StartedRank

KV_BYTES = 1 << 20


def test_started_ranks_serve_a_prompt_and_show_their_memory(tmp_path: Path, tiny_model: Path, oracle: Oracle) -> None:
    prompt = prompt_of(150, 5)
    with (
        StartedRank(tmp_path, tiny_model, "decode", KV_BYTES) as pool,
        StartedRank(tmp_path, tiny_model, "prefill", KV_BYTES) as group,
    ):
        for rank in (pool, group):
            wall, cpu = rank.serve()
            assert wall > 0
            assert cpu > 0
            rank.forget_peak()
        assert serve_prompt(group, pool, prompt) == oracle.greedy(prompt, NEW_TOKENS)
        for rank in (pool, group):
            memory = rank.memory()
            assert 0 < memory["files"] < memory["now"] <= memory["peak"]
        with pytest.raises(RuntimeError, match="/v1/reserve was refused"):
            pool.ask("/v1/reserve", {"requestId": "bench"})


def test_a_rank_that_cannot_start_says_why(tmp_path: Path) -> None:
    with StartedRank(tmp_path, tmp_path / "no-model", "prefill", 0) as rank, pytest.raises(RuntimeError, match="ended"):
        rank.serve()


def test_weights_and_kv_are_taken_from_what_is_resident() -> None:
    megabyte = 10**6
    start = StandingStart(
        role="decode",
        ready_s=4.0,
        cpu_s=3.0,
        weight_bytes=100 * megabyte,
        resident_bytes=450 * megabyte,
        library_bytes=50 * megabyte,
        prompt=2048,
        kv_bytes=95 * megabyte,
        peak_bytes=600 * megabyte,
    )
    assert (start.beyond_bytes, start.peak_beyond_bytes) == (350 * megabyte, 405 * megabyte)
    assert "350 MB beyond its weights" in start.line()
    assert "at most 405 MB beyond weights and 95 MB of KV while it served 2048 tokens" in start.line()
