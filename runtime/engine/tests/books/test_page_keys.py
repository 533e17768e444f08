from __future__ import annotations

import json
from pathlib import Path

import pytest

from csps_engine.core.page_keys import page_keys

GOLDEN = json.loads((Path(__file__).parents[3] / "wire" / "pageKeys.golden.json").read_text())


@pytest.mark.parametrize("case", GOLDEN)
def test_keys_are_those_that_the_gateway_computes(case: dict[str, object]) -> None:
    keys = page_keys(case["kvFormat"], case["tokenIds"], case["pageTokens"], case.get("cacheSalt"))
    assert keys == case["keys"]


def test_a_key_stands_for_all_tokens_before_it() -> None:
    one, other = list(range(256)), list(range(256))
    other[3] += 1
    assert not set(page_keys("f", one)) & set(page_keys("f", other))
    branch = [*one[:128], *range(1000, 1128)]
    same = [a == b for a, b in zip(page_keys("f", one), page_keys("f", branch), strict=True)]
    assert same == [True, True, False, False]


def test_prompts_of_two_salts_have_no_key_in_common() -> None:
    tokens = list(range(256))
    chains = [page_keys("f", tokens, cache_salt=salt) for salt in (None, "one", "other")]
    assert len({key for chain in chains for key in chain}) == 12
    assert page_keys("f", tokens, cache_salt="one") == chains[1]
