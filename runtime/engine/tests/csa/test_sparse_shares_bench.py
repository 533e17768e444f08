"""The program behind the shares that the cost model assumes: it counts and times what there is."""

from __future__ import annotations

from pathlib import Path

from bench.sparse_shares import measure
from csps_engine.csa.settings import CsaSettings
from csps_engine.pipeline import csa_attention
from csps_engine.pipeline.kv_gather import KvGatherAttention


def test_shares_are_of_the_exact_form_of_the_same_prompt_and_nothing_stays_timed(model_file: Path) -> None:
    before = csa_attention.attend_own, csa_attention.join, KvGatherAttention._local
    found = measure(model_file, 320, 2, CsaSettings(dense_tokens=128))
    assert 0 < found.fetched <= 1
    assert found.own_read > 0
    assert found.fetched_read > 0
    assert (csa_attention.attend_own, csa_attention.join, KvGatherAttention._local) == before
