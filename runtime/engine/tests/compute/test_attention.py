from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from csps_engine.attention.attend import attend, attend_reference
from csps_engine.attention.partial import Partial, merge, merge_many, nothing

TOLERANCE = 2e-5


def qkv(seed: int, tokens: int, keys: int, heads: int, kv_heads: int, scale: float = 1.0) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(seed)
    q = torch.randn(tokens, heads, 16, generator=draw) * scale
    return q, torch.randn(kv_heads, keys, 16, generator=draw), torch.randn(kv_heads, keys, 16, generator=draw)


def assert_same(one: Partial, other: Partial) -> None:
    torch.testing.assert_close(one.out, other.out, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(one.lse, other.lse, rtol=0, atol=TOLERANCE * 10)


heads = st.sampled_from([(1, 1), (3, 3), (9, 3), (8, 2), (6, 1)])


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), tokens=st.integers(1, 70), keys=st.integers(1, 150), heads=heads)
def test_attention_over_all_keys_equals_the_written_out_form(
    seed: int, tokens: int, keys: int, heads: tuple[int, int]
) -> None:
    q, k, v = qkv(seed, tokens, keys, *heads)
    assert_same(attend(q, k, v, causal=False), attend_reference(q, k, v, causal=False))


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), tokens=st.integers(1, 300), heads=heads)
def test_causal_attention_equals_the_written_out_form(seed: int, tokens: int, heads: tuple[int, int]) -> None:
    q, k, v = qkv(seed, tokens, tokens, *heads)
    assert_same(attend(q, k, v, causal=True), attend_reference(q, k, v, causal=True))


def test_attention_reads_strided_views_of_queries_and_keys() -> None:
    q, k, v = qkv(1, 20, 40, 9, 3)
    wide_q = torch.cat([q, q], 1)[:, :9]
    wide_k, wide_v = (torch.cat([x, x], 1)[:, :40] for x in (k, v))
    assert_same(attend(wide_q, wide_k, wide_v, causal=False), attend(q, k, v, causal=False))


def test_causal_attention_of_unequal_lengths_is_refused() -> None:
    q, k, v = qkv(1, 3, 4, 2, 1)
    with pytest.raises(ValueError, match="as many keys as queries"):
        attend(q, k, v, causal=True)


def test_no_queries_or_no_keys_give_nothing() -> None:
    q, k, v = qkv(1, 3, 4, 2, 1)
    assert attend(q[:0], k, v, causal=False).out.shape == (0, 2, 16)
    none = attend(q, k[:, :0], v[:, :0], causal=False)
    assert torch.isneginf(none.lse).all()
    assert (none.out == 0).all()


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    cuts=st.lists(st.integers(0, 90), min_size=1, max_size=5),
    shuffled=st.permutations(range(6)),
)
def test_any_split_of_the_keys_merged_in_any_order_gives_the_whole(
    seed: int, cuts: list[int], shuffled: list[int]
) -> None:
    q, k, v = qkv(seed, 5, 90, 6, 2)
    edges = [0, *sorted(cuts), 90]
    parts = [attend(q, k[:, a:b], v[:, a:b], causal=False) for a, b in itertools.pairwise(edges)]
    parts = [parts[i] for i in shuffled if i < len(parts)]
    merged = nothing(q)
    for part in parts:
        merged = merge(merged, part)
    whole = attend(q, k, v, causal=False)
    assert_same(merged, whole)
    assert_same(merge_many(torch.stack([p.out for p in parts]), torch.stack([p.lse for p in parts])), whole)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31))
def test_merge_is_associative_and_commutative(seed: int) -> None:
    q, k, v = qkv(seed, 4, 60, 4, 2)
    a, b, c = (attend(q, k[:, i : i + 20], v[:, i : i + 20], causal=False) for i in (0, 20, 40))
    assert_same(merge(merge(a, b), c), merge(a, merge(b, c)))
    assert_same(merge(a, b), merge(b, a))


def test_scores_in_the_hundreds_overflow_nothing() -> None:
    q, k, v = qkv(2, 6, 40, 4, 2, scale=400.0)
    halves = [attend(q, k[:, i : i + 20], v[:, i : i + 20], causal=False) for i in (0, 20)]
    merged = merge(*halves)
    assert merged.lse.abs().max() > 500
    torch.testing.assert_close(merged.out, attend_reference(q, k, v, causal=False).out, rtol=0, atol=1e-3)


def test_merging_nothing_with_nothing_is_nothing() -> None:
    none = nothing(torch.zeros(2, 3, 4))
    for merged in (merge(none, none), merge_many(torch.stack([none.out] * 2), torch.stack([none.lse] * 2))):
        assert torch.isneginf(merged.lse).all()
        assert (merged.out == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize(("tokens", "keys", "causal"), [(70, 70, True), (70, 33, False), (1, 100, False)])
def test_gpu_kernels_take_and_give_the_shapes_expected(
    dtype: torch.dtype, tokens: int, keys: int, causal: bool
) -> None:
    # Shapes only: fake tensors run a kernel's shape rules without a GPU.
    with FakeTensorMode():
        q = torch.empty(tokens, 9, 64, dtype=dtype, device="cuda")
        k, v = (torch.empty(3, keys, 64, dtype=dtype, device="cuda") for _ in range(2))
        partial = attend(q, k, v, causal)
        assert (partial.out.shape, partial.out.dtype) == (q.shape, dtype)
        assert (partial.lse.shape, partial.lse.dtype) == ((tokens, 9), torch.float32)
        assert merge(partial, nothing(q)).out.dtype == dtype
