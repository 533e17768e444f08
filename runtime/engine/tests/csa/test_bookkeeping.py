"""Settings, levels, budgets and the layout, without a tensor."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csps_engine.csa.floor import LEAST_FACTOR, Floor
from csps_engine.csa.layout import Layout
from csps_engine.csa.levels import level_of, levels_for, members
from csps_engine.csa.settings import CsaError, CsaSettings, Level
from csps_engine.pipeline.partition import zigzag

layouts = st.builds(
    lambda tokens, ranks, block, tail: Layout(zigzag(tokens, ranks), CsaSettings(block_tokens=block, tail_tokens=tail)),
    tokens=st.integers(1, 5000),
    ranks=st.integers(2, 6),
    block=st.sampled_from([16, 32, 64]),
    tail=st.sampled_from([0, 1, 128, 1000]),
)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"levels": ()}, "at least one"),
        ({"levels": (Level(4, 1.0), Level(2, 1.0))}, "must rise"),
        ({"levels": (Level(0, 1.0), Level(2, 1.0))}, "must rise"),
        ({"levels": (Level(2, 1.0), Level(3, 1.0))}, "must divide"),
        ({"block_tokens": 48}, "divide a page"),
        ({"block_tokens": 0}, "divide a page"),
        ({"gamma": 1.1}, "gamma"),
        ({"tolerance": -0.1}, "tolerance"),
        ({"served": 0.0}, "served"),
        ({"quality_floor": 2.0}, "quality_floor"),
        ({"tail_tokens": -1}, "tail_tokens"),
        ({"vote_every": 0}, "vote_every"),
        ({"most_voters": 0}, "most_voters"),
    ],
)
def test_settings_that_cannot_hold_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(CsaError, match=message):
        CsaSettings(**fields)


def test_a_budget_outside_its_range_is_refused() -> None:
    for budget in (-0.1, 1.1, float("nan")):
        with pytest.raises(CsaError, match="budget"):
            Level(0, budget)


def test_levels_end_where_all_ranks_are_in() -> None:
    node, cluster = Level(4, 0.5), Level(0, 0.2)
    assert levels_for((node, cluster), 3) == [node]
    assert levels_for((node, cluster), 4) == [node]
    assert levels_for((node, cluster), 8) == [node, Level(8, 0.2)]
    with pytest.raises(CsaError, match="holds 4 ranks, the group has 5"):
        levels_for((node,), 5)


@given(ranks=st.integers(2, 12))
def test_every_other_rank_is_in_exactly_one_level(ranks: int) -> None:
    levels = levels_for((Level(1, 1.0), Level(2, 0.5), Level(4, 0.3), Level(0, 0.1)), ranks)
    for rank in range(ranks):
        found = [other for index in range(len(levels)) for other in members(levels, rank, ranks, index)]
        assert sorted(found) == [other for other in range(ranks) if other != rank]
        assert all(level_of(levels, rank, other) == level_of(levels, other, rank) for other in found)


def test_a_rank_below_the_floor_asks_for_more_and_minds_no_budget_until_it_is_above() -> None:
    floor = Floor(0.98)
    seen = []
    for mean in (0.99, 0.97, 0.97, 0.99, 0.99, 0.99):
        floor.heard(mean)
        seen.append((floor.factor, floor.budgets_hold))
    assert seen == [(1.0, True), (0.5, False), (0.25, False), (0.5, False), (1.0, True), (1.0, True)]
    for _ in range(20):
        floor.heard(0.5)
    assert floor.factor == LEAST_FACTOR


@given(layout=layouts)
def test_blocks_cover_every_token_once_in_local_order(layout: Layout) -> None:
    starts = []
    for rank in range(layout.ranks):
        at = [layout.first_position(rank, block) for block in range(layout.blocks(rank))]
        assert at == sorted(at)
        starts += at
    assert sorted(starts) == [i * layout.block_tokens for i in range(len(starts))]


@given(layout=layouts)
def test_what_is_visible_precedes_some_regular_query_and_nothing_else_does(layout: Layout) -> None:
    for rank in range(layout.ranks):
        regular = layout.regular(rank)
        own = [
            layout.first_position(rank, i // layout.block_tokens) + i % layout.block_tokens
            for i in (layout.early_tokens(rank) - 1, regular - 1)
            if 0 <= i < regular
        ]
        for source in range(layout.ranks):
            if source == rank:
                assert layout.visible(rank, source) == 0
                continue
            starts = [layout.first_position(source, block) for block in range(layout.blocks(source))]
            expected = [start for start in starts if own and start <= max(own)]
            assert starts[: layout.visible(rank, source)] == expected


@given(layout=layouts)
def test_sinks_and_what_precedes_a_chunk_come_unasked(layout: Layout) -> None:
    for rank in range(layout.ranks):
        for source in range(layout.ranks):
            for block, flag in enumerate(layout.given(rank, source)):
                start = layout.first_position(source, block)
                if block >= layout.visible(rank, source):
                    assert not flag
                elif start < 64:
                    assert flag


@given(layout=layouts, layer=st.integers(0, 40))
def test_audited_queries_are_regular_and_distinct(layout: Layout, layer: int) -> None:
    for rank in range(layout.ranks):
        chosen = layout.audited(rank, layer)
        assert len(set(chosen)) == len(chosen) == min(CsaSettings().audits, layout.regular(rank))
        assert chosen == sorted(chosen)
        assert all(0 <= index < layout.regular(rank) for index in chosen)
