from __future__ import annotations

import pytest

from csps_engine.core.plan import AttentionKind
from csps_engine.loop.prefix_reuse import reused_tokens
from csps_engine.wire.generated import PagePlace, RankRef, Reservation


def reservation(shared: int | None) -> Reservation:
    holder = RankRef(rank_id="d-0", incarnation="i", address="a", control_port=1, transfer_port=2)
    return Reservation(
        request_id="r",
        epoch=1,
        home_rank="d-0",
        holders=[holder],
        pages=[PagePlace(page=page, rank_id="d-0", slot=page) for page in range(10)],
        page_tokens=64,
        kv_format="f",
        shared_pages=shared,
    )


@pytest.mark.parametrize(
    ("shared", "attention", "tokens", "reused"),
    [
        (None, "dense", 640, 0),
        (1, "dense", 640, 64),
        (1, "sparse", 640, 0),
        (5, "sparse", 640, 320),
        (9, "sparse", 640, 576),
    ],
)
def test_a_sparse_prompt_goes_on_from_a_beginning_that_is_most_of_it(
    shared: int | None, attention: AttentionKind, tokens: int, reused: int
) -> None:
    assert reused_tokens(reservation(shared), attention, tokens) == reused
