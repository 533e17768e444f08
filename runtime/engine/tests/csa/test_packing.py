"""Keys and values in 8 bits: how far from the originals, and that both sides read the same."""

from __future__ import annotations

import dataclasses

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prompts import EVERYTHING, error, random_layer, run_sparse

from csps_engine.csa.digest import digest, limits
from csps_engine.csa.packing import EightBit, Plain, row_bytes


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    tokens=st.integers(1, 100),
    scale=st.sampled_from([1e-20, 1e-3, 1.0, 500.0]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_what_is_unpacked_is_within_half_a_step(seed: int, tokens: int, scale: float, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(seed)
    k, v = ((torch.randn(2, tokens, 8, generator=draw) * scale).to(dtype) for _ in range(2))
    own = digest(k, 32)
    packing = EightBit(k, v, own, own.unsqueeze(0), 32)
    taken = torch.rand(2, tokens, generator=draw) < 0.5
    keys, values = packing.unpack(0, taken, [part[taken] for part in packing.rows])
    low, high = (part.transpose(0, 1).repeat_interleave(32, 1)[:, :tokens][taken] for part in limits(own))
    rounding = torch.finfo(dtype).eps * k.float().abs().max()
    assert ((keys.float() - k[taken].float()).abs() <= (high - low) / 509 + rounding).all()
    step = v[taken].float().abs().amax(-1, keepdim=True) / 127
    assert ((values.float() - v[taken].float()).abs() <= 0.51 * step + 0.004 * 127 * step + 1e-36).all()


def test_a_row_takes_two_bytes_beside_its_elements() -> None:
    k, v = (torch.randn(3, 40, 64) for _ in range(2))
    own = digest(k, 32)
    assert row_bytes(EightBit(k, v, own, own.unsqueeze(0), 32)) == 2 * 64 + 2
    assert row_bytes(Plain(k, v)) == 2 * 64 * 4


def test_a_channel_in_which_a_block_does_not_vary_loses_next_to_nothing() -> None:
    k = torch.randn(1, 32, 8, generator=torch.Generator().manual_seed(2))
    k[:, :, 3] = 0.37
    own = digest(k, 32)
    packing = EightBit(k, k, own, own.unsqueeze(0), 32)
    keys, _ = packing.unpack(0, torch.ones(1, 32, dtype=torch.bool), [part[0] for part in packing.rows])
    digest_step = k.abs().max() / 127
    assert (keys[:, 3] - 0.37).abs().max() <= 0.51 * digest_step / 127
    assert (keys[:, :3] - k[0, :, :3]).abs().max() > 0.51 * digest_step / 127


def test_attention_over_packed_keys_is_close_to_dense() -> None:
    layer = random_layer(700)
    packed = run_sparse(layer, 3, dataclasses.replace(EVERYTHING, packing="eightBit"))
    assert 0 < error(packed.out, layer.dense()) < 0.01
    assert all(report.fetched_bytes < 0.3 * report.available_bytes for report in packed.reports)
