"""Decode that chooses blocks: exact where nothing is left out, and the same choice wherever the pages are."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_kv import Prefilled, decode, prefill
from rank_threads import on_ranks
from tiny_llama import random_llama

from csps_engine.comm.mesh import Mesh
from csps_engine.core.plan import PAGE_TOKENS, ChoiceReport, DecodeRow, PageTable, Place, StepPlan
from csps_engine.csa.decode_settings import DecodeChoice
from csps_engine.csa.page_digests import PageDigests
from csps_engine.kv.pool import KvPool
from csps_engine.pipeline.chosen_pages import Reader
from csps_engine.pipeline.decode import DecodeRunner

MODELS = {heads: random_llama(*heads, head_dim=16) for heads in [(9, 3), (8, 2), (4, 4)]}
HEADS = st.sampled_from(sorted(MODELS))
FLOAT_BYTES = 4
TOKEN_ROW_BYTES = 16
REPORT_BYTES = 4 * 8
MIN_TOKENS, BLOCK = 200, 32


class Strewn(NamedTuple):
    """Requests of random KV, the same for one seed however their pages are spread."""

    lengths: tuple[int, ...]
    seed: int


class Step(NamedTuple):
    """What one step gave on one rank."""

    tokens: dict[str, int]
    chosen: dict[str, ChoiceReport]
    sent_bytes: int


def places_of(strewn: Strewn, ranks: int, spread: int) -> list[list[Place]]:
    draw, slot = random.Random(spread), iter(range(10**6))
    pages = [length // PAGE_TOKENS + 1 for length in strewn.lengths]
    return [[Place(draw.randrange(ranks), next(slot)) for _ in range(count)] for count in pages]


def step(
    heads: tuple[int, int], strewn: Strewn, ranks: int, rule: DecodeChoice | None, spread: int = 0
) -> tuple[list[Step], list[list[Place]]]:
    """One step of all requests over `ranks` ranks, and where their pages were."""
    model, places = MODELS[heads], places_of(strewn, ranks, spread)
    rows = tuple(DecodeRow(str(n), n % ranks, n, length) for n, length in enumerate(strewn.lengths))
    tables = {
        str(n): PageTable(own, length) for n, (own, length) in enumerate(zip(places, strewn.lengths, strict=True))
    }

    def run(mesh: Mesh) -> Step:
        draw = torch.Generator().manual_seed(strewn.seed)
        pool = KvPool(model.config.kv_shape("float32"), sum(map(len, places)))
        for layer in range(model.config.layers):
            for tensor in pool.pages(layer):
                # Keys of one page are alike and those of two are not, or digests would tell them not apart.
                middle = torch.randn(*tensor.shape[:2], 1, tensor.shape[3], generator=draw)
                tensor.normal_(generator=draw).mul_(0.3).add_(middle)
        reader = None if rule is None else Reader(pool, PageDigests(pool, BLOCK), rule)
        before = mesh.sent_bytes
        result = DecodeRunner(model, mesh, pool, reader).step(StepPlan(rows), tables)
        tokens = {name: token.token_id for name, token in result.sampled.items()}
        return Step(tokens, dict(result.chosen), mesh.sent_bytes - before)

    return on_ranks(ranks, run), places


@settings(max_examples=8)
@given(
    heads=HEADS,
    lengths=st.lists(st.integers(1, 900), min_size=1, max_size=4),
    ranks=st.integers(1, 8),
    seed=st.integers(0, 1000),
)
def test_where_nothing_is_left_out_tokens_are_those_of_dense_decode(
    heads: tuple[int, int], lengths: list[int], ranks: int, seed: int
) -> None:
    strewn, everything = Strewn(tuple(lengths), seed), DecodeChoice(share=0, min_tokens=1, dense_layers=0)
    dense, _ = step(heads, strewn, ranks, None, seed)
    found, _ = step(heads, strewn, ranks, everything, seed)
    assert [one.tokens for one in found] == [one.tokens for one in dense]
    for report in found[0].chosen.values():
        assert (report.skipped_tokens, report.left_bound) == (0, 0)
        assert report.covered == pytest.approx(1, abs=1e-5)


@settings(max_examples=12)
@given(
    heads=HEADS,
    lengths=st.lists(st.integers(1, 1200), min_size=1, max_size=4),
    ranks=st.integers(2, 8),
    spread=st.integers(0, 1000),
    share=st.sampled_from([0.2, 1.0]),
)
def test_the_same_blocks_are_read_wherever_the_pages_are(
    heads: tuple[int, int], lengths: list[int], ranks: int, spread: int, share: float
) -> None:
    strewn = Strewn(tuple(lengths), spread)
    rule = DecodeChoice(share=share, min_tokens=MIN_TOKENS, dense_layers=1)
    [alone], _ = step(heads, strewn, 1, rule)
    found, _ = step(heads, strewn, ranks, rule, spread)
    assert all(one.tokens == alone.tokens for one in found)
    assert all(one.chosen == found[0].chosen for one in found)
    assert found[0].chosen.keys() == alone.chosen.keys()
    assert alone.chosen.keys() == {str(n) for n, length in enumerate(lengths) if length + 1 >= MIN_TOKENS}
    assert all(report.skipped_tokens > 0 for name, report in alone.chosen.items() if lengths[int(name)] > 900)
    for name, report in found[0].chosen.items():
        reference = alone.chosen[name]
        assert report.read_tokens == reference.read_tokens
        assert report.skipped_tokens == reference.skipped_tokens
        assert report.left_bound == pytest.approx(reference.left_bound, abs=1e-4)
        assert report.covered == pytest.approx(reference.covered, abs=1e-4)
        assert 1 - report.covered <= report.left_bound + 1e-4


def test_first_and_latest_pages_are_read_at_any_threshold() -> None:
    [found], _ = step((8, 2), Strewn((1000,), 1), 1, DecodeChoice(share=1.0, min_tokens=1, dense_layers=0))
    report, c = found.chosen["0"], MODELS[8, 2].config
    least = c.layers * c.kv_heads * 3 * PAGE_TOKENS  # a sink and two recent pages; the one that grows is not counted
    assert least <= report.read_tokens < c.layers * c.kv_heads * (1000 // PAGE_TOKENS) * PAGE_TOKENS
    assert report.read_tokens + report.skipped_tokens == c.layers * c.kv_heads * (1000 // PAGE_TOKENS) * PAGE_TOKENS


def test_a_model_of_no_more_layers_than_are_exact_is_exact() -> None:
    layers = MODELS[8, 2].config.layers
    [found], _ = step((8, 2), Strewn((1000,), 1), 1, DecodeChoice(share=1.0, min_tokens=1, dense_layers=layers))
    [dense], _ = step((8, 2), Strewn((1000,), 1), 1, None)
    assert (found.chosen, found.tokens) == ({}, dense.tokens)


def test_choice_goes_on_over_steps_while_pages_fill_and_new_ones_begin() -> None:
    model = MODELS[9, 3]
    prompts: list[Prefilled] = [
        prefill(model, torch.randint(0, 61, (n,), generator=torch.Generator().manual_seed(n)).tolist(), 1)
        for n in (300, 60, 500)
    ]

    class Choosing(DecodeRunner):
        share = 0.0

        def __init__(self, model: object, mesh: Mesh, pool: KvPool) -> None:
            rule = DecodeChoice(share=self.share, min_tokens=MIN_TOKENS, dense_layers=1)
            super().__init__(MODELS[9, 3], mesh, pool, Reader(pool, PageDigests(pool, BLOCK), rule))

    class Thinning(Choosing):
        share = 0.5

    steps = 70
    assert decode(model, prompts, steps, 3, seed=1, runner=Choosing) == decode(model, prompts, steps, 1)
    assert decode(model, prompts, steps, 3, seed=1, runner=Thinning) == decode(
        model, prompts, steps, 1, runner=Thinning
    )


@pytest.mark.parametrize("ranks", [2, 3, 8])
@pytest.mark.parametrize("lengths", [(700,), (700, 100, 900), (150,)])
def test_a_step_sends_the_bytes_of_the_formula(ranks: int, lengths: tuple[int, ...]) -> None:
    rule = DecodeChoice(min_tokens=MIN_TOKENS, dense_layers=1)
    found, places = step((9, 3), Strewn(lengths, 5), ranks, rule, spread=ranks)
    c = MODELS[9, 3].config
    any_long = any(length + 1 >= MIN_TOKENS for length in lengths)
    chosen_layers = c.layers - rule.dense_layers if any_long else 0
    floats = 0
    for n, (own, length) in enumerate(zip(places, lengths, strict=True)):
        holders, home = {place.rank for place in own}, n % ranks
        others, talking = len(holders - {home}), len(holders) if length + 1 >= MIN_TOKENS else 1
        floats += c.layers * others * (c.heads * c.head_dim + c.heads * (c.head_dim + 1))
        floats += c.layers * (own[-1].rank != home) * 2 * c.kv_heads * c.head_dim
        # One maximum a head to every other holder; in one layer two more numbers a head with the answer.
        floats += chosen_layers * talking * (talking - 1) * c.heads + any_long * others * 2 * c.heads
    long = sum(length + 1 >= MIN_TOKENS for length in lengths)
    peers = ranks * (ranks - 1)
    told = peers * (-(-len(lengths) // ranks) * TOKEN_ROW_BYTES + long * REPORT_BYTES)
    assert sum(one.sent_bytes for one in found) == floats * FLOAT_BYTES + told


def test_pages_that_move_between_steps_change_no_token() -> None:
    model, steps, length, spare = MODELS[9, 3], 6, 900, 20
    pages = (length + steps) // PAGE_TOKENS + 1
    rule = DecodeChoice(min_tokens=MIN_TOKENS, dense_layers=0)
    draw = torch.Generator().manual_seed(11)
    middles = torch.randn(model.config.layers, 2, 3, pages, 1, 16, generator=draw)
    kept = (middles + 0.3 * torch.randn(*middles.shape[:4], PAGE_TOKENS, 16, generator=draw)).flatten(3, 4)
    before = [Place(page % 2, page) for page in range(pages)]
    # A page of rank 0 goes to a slot of rank 1 whose former page was read, and scored, in earlier steps.
    after = [Place(1, spare) if page == 4 else place for page, place in enumerate(before)]

    def run(mesh: Mesh, moves: bool) -> list[int]:
        pool = KvPool(model.config.kv_shape("float32"), spare + 1)
        digests, tokens = PageDigests(pool, BLOCK), [7]
        runner = DecodeRunner(model, mesh, pool, Reader(pool, digests, rule))

        def fill(slot: int, page: int, sign: float = 1.0) -> None:
            part = slice(page * PAGE_TOKENS, (page + 1) * PAGE_TOKENS)
            for layer, (k, v) in enumerate(kept):
                pool.write(layer, slot, sign * k[:, part], v[:, part])

        for page, place in enumerate(before):
            if place.rank == mesh.rank:
                fill(place.slot, page)
        fill(spare, 4, sign=-1.0)
        digests.prepare([spare])
        for step in range(steps):
            moved = moves and step >= 3
            if moved and step == 3 and mesh.rank == 1:
                fill(spare, 4)
            table = PageTable(after if moved else before, length + step)
            result = runner.step(StepPlan((DecodeRow("0", 0, tokens[-1], length + step),)), {"0": table})
            assert result.chosen["0"].skipped_tokens > 0
            tokens.append(result.sampled["0"].token_id)
        return tokens

    stayed, moved = (on_ranks(2, lambda mesh, moves=moves: run(mesh, moves)) for moves in (False, True))
    assert stayed == moved
