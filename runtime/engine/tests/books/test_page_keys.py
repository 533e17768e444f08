from __future__ import annotations

import json
from pathlib import Path

import pytest

from csps_engine.core.page_keys import page_keys

GOLDEN = json.loads((Path(__file__).parents[3] / "wire" / "pageKeys.golden.json").read_text())


@pytest.mark.parametrize("case", GOLDEN)
def test_keys_are_those_that_the_gateway_computes(case: dict[str, object]) -> None:
    assert page_keys(case["kvFormat"], case["tokenIds"], case["pageTokens"]) == case["keys"]


def test_a_key_stands_for_all_tokens_before_it() -> None:
    one, other = list(range(256)), list(range(256))
    other[3] += 1
    assert not set(page_keys("f", one)) & set(page_keys("f", other))
    branch = [*one[:128], *range(1000, 1128)]
    same = [a == b for a, b in zip(page_keys("f", one), page_keys("f", branch), strict=True)]
    assert same == [True, True, False, False]
