"""Costs of prompts in a group, and the pieces that its layers are exchanged in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rank_threads import on_ranks
from tiny_llama import random_llama

from csps_engine.comm.mesh import Mesh
from csps_engine.csa.settings import CsaSettings
from csps_engine.loop.epoch_work import Epoch
from csps_engine.loop.prefill_costs import PrefillCosts
from csps_engine.pipeline.cost import MIN_GAIN, Speeds, layer_seconds, layer_work
from csps_engine.pipeline.forecast import Forecast
from csps_engine.pipeline.mode import choose_mode
from csps_engine.wire.generated import EpochProposal, RankRef

CONFIG = random_llama(heads=8, kv_heads=4, head_dim=64).config
SLOW_LINK = Speeds(1e10, 1e10, 1e7, 1e-4, 1e-4)
FAST_LINK = Speeds(1e10, 1e10, 1e12, 1e-4, 1e-4)


def epoch_of(*incarnations: str) -> Epoch:
    members = [
        RankRef(rank_id=f"r-{name}", incarnation=name, address="127.0.0.1", control_port=1, transfer_port=2)
        for name in incarnations
    ]
    proposal = EpochProposal(
        group="g",
        epoch=1,
        fence=1,
        generation=1,
        coordinator=members[0],
        members=members,
        store_host="127.0.0.1",
        store_port=3,
    )
    return Epoch(proposal, 0)


def test_a_long_prompt_is_exchanged_in_pieces_where_the_link_is_slow_and_whole_elsewhere() -> None:
    assert Forecast(CONFIG, 4, "kvGather", SLOW_LINK).pieces(4096, 4) > 1
    assert Forecast(CONFIG, 4, "kvGather", FAST_LINK).pieces(4096, 4) == 1
    assert Forecast(CONFIG, 4, "kvGather", SLOW_LINK).pieces(256, 4) == 1
    assert Forecast(CONFIG, 4, "kvGather", SLOW_LINK).pieces(4096, 1) == 1


def test_nothing_is_cut_before_the_link_is_measured() -> None:
    assert Forecast(CONFIG, 4, "kvGather", None).pieces(8192, 4) == 1


speed = st.floats(1e6, 1e12)
delay = st.floats(1e-6, 1e-1)


@given(
    st.builds(Speeds, speed, speed, speed, delay, delay),
    st.integers(1, 20_000),
    st.integers(2, 8),
    st.sampled_from(["auto", "kvGather", "allToAll"]),
)
def test_pieces_are_made_only_where_they_save_two_percent_of_the_layer(
    speeds: Speeds, tokens: int, ranks: int, asked: str
) -> None:
    forecast = Forecast(CONFIG, 4, asked, speeds)
    work = layer_work(CONFIG, choose_mode(CONFIG, ranks, asked), tokens, ranks, 4)
    whole = layer_seconds(work, speeds, 1)
    if forecast.pieces(tokens, ranks) == 1:
        assert forecast.layer_seconds(tokens, ranks) == whole
    else:
        assert forecast.layer_seconds(tokens, ranks) < (1 - MIN_GAIN) * whole


def test_a_thinned_prompt_is_foreseen_by_what_thinning_leaves_and_moves_no_forecast_of_exact_ones() -> None:
    costs = PrefillCosts(random_llama(heads=8, kv_heads=4, head_dim=64), "kvGather", CsaSettings(dense_tokens=256))
    costs.start_epoch(epoch_of("a", "b", "c", "d"))
    exact, thinned = costs.layer_seconds(8192, 4), costs.layer_seconds(8192, 4, "sparse")
    assert thinned < exact
    for tokens, ranks in ((256, 4), (8192, 1)):
        assert costs.layer_seconds(tokens, ranks, "sparse") == costs.layer_seconds(tokens, ranks)
    for _ in range(50):
        costs.took(8192, 4, "dense", 2 * exact)
    assert costs.layer_seconds(8192, 4, "sparse") / thinned == pytest.approx(2, rel=1e-3)
    for _ in range(50):
        costs.took(8192, 4, "sparse", 3 * thinned)
    assert costs.layer_seconds(8192, 4, "sparse") / thinned == pytest.approx(3, rel=1e-3)
    assert costs.layer_seconds(8192, 4) / exact == pytest.approx(2, rel=1e-3)


def test_layers_that_stay_exact_count_as_such() -> None:
    forecast = Forecast(CONFIG, 4, "kvGather", SLOW_LINK)
    exact = forecast.layer_seconds(8192, 4)
    none, half, every = (
        forecast.layer_seconds(8192, 4, CsaSettings(dense_layers=layers)) for layers in (0, CONFIG.layers // 2, 1000)
    )
    assert every == exact
    assert half == pytest.approx((none + exact) / 2)


def test_ranks_measure_alike_once_for_the_same_members_and_learn_from_what_prompts_took() -> None:
    model = random_llama(heads=4, kv_heads=2)

    def work(mesh: Mesh) -> list[object]:
        costs = PrefillCosts(model, "auto")
        costs.start_epoch(epoch_of("a", "b"))
        said: list[object] = [costs.measured]
        costs.measure(mesh)
        first = costs.seconds(512, 2)
        said += [costs.measured, first, costs.seconds(512, 1), costs.pieces(512, 2)]
        costs.start_epoch(epoch_of("a", "c"))
        said.append(costs.measured)
        costs.start_epoch(epoch_of("a", "b"))
        said += [costs.measured, costs.seconds(512, 2) == first]
        for _ in range(50):
            costs.took(512, 2, "dense", 3 * first / model.config.layers)
        said.append(abs(costs.seconds(512, 2) / first - 3) < 0.01)
        costs.start_epoch(epoch_of("alone"))
        said.append(costs.measured)
        return said

    one, other = on_ranks(2, work)
    assert one == other
    assert [one[0], one[1], *one[5:]] == [False, True, False, True, True, True, True]
    assert isinstance(one[2], float)
    assert one[2] > 0
