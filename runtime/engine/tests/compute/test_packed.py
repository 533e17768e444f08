"""Quantized weights multiply as their expanded form does, in every block format, for few tokens and many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from csps_engine.kernels.compiled import compile_library
from csps_engine.model.gguf_blocks import take_apart
from csps_engine.model.matrix import StackedMatrix
from csps_engine.model.packed_library import SOURCE
from csps_engine.model.packed_matrix import FEW_TOKENS, PackedMatrix

KINDS = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q6_K"]
HALF_PLACES = {"Q6_K": (208,), "Q4_0": (0,), "Q5_0": (0,), "Q8_0": (0,)}
"""Where a block holds fp16 numbers; elsewhere any byte is a valid one."""


def random_blocks(kind: str, rows: int, columns: int, seed: int = 0) -> np.ndarray:
    weights, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    draw = np.random.default_rng(seed)
    blocks = draw.integers(0, 256, (rows * columns // weights, size), dtype=np.uint8)
    for place in HALF_PLACES.get(kind, (0, 2)):
        scale = draw.normal(0, 0.01, len(blocks)).astype(np.float16)
        blocks[:, place : place + 2] = scale.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


def packed_and_dense(kind: str, rows: int, columns: int, seed: int = 0) -> tuple[PackedMatrix, torch.Tensor]:
    blocks = random_blocks(kind, rows, columns, seed)
    groups = take_apart(blocks, GGMLQuantizationType[kind])
    assert groups is not None
    return PackedMatrix([groups]), torch.from_numpy(dequantize(blocks, GGMLQuantizationType[kind]))


def rounding(x: torch.Tensor, dense: torch.Tensor) -> torch.Tensor:
    """What sums of fp32 may be off."""
    return 1e-6 * x.double().abs() @ dense.double().abs().t() + 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [37, 1056])
@pytest.mark.parametrize("tokens", [0, 1, 7, FEW_TOKENS])
def test_a_product_is_that_of_the_expanded_weights(kind: str, rows: int, tokens: int) -> None:
    packed, dense = packed_and_dense(kind, rows, 512)
    x = torch.randn(tokens, 512, generator=torch.Generator().manual_seed(tokens))
    exact = x.double() @ dense.double().t()
    allowed = rounding(x, dense)
    assert ((packed.times(x) - exact).abs() <= allowed).all()
    sums = torch.ones(tokens, rows)
    packed.add_times(sums, x)
    assert ((sums - exact - 1).abs() <= allowed).all()


@pytest.mark.parametrize("kind", KINDS)
def test_rows_looked_up_have_the_very_values_of_the_file(kind: str) -> None:
    packed, dense = packed_and_dense(kind, 50, 256)
    numbers = torch.tensor([0, 49, 17, 16, 17])
    torch.testing.assert_close(packed.lookup(numbers), dense[numbers], rtol=1e-6, atol=0)


def test_matrices_below_each_other_multiply_as_one() -> None:
    (first, top), (second, bottom) = packed_and_dense("Q4_K", 32, 256), packed_and_dense("Q6_K", 20, 256, seed=1)
    x = torch.randn(3, 256, generator=torch.Generator().manual_seed(1))
    dense = torch.cat([top, bottom])
    product = StackedMatrix([first, second]).times(x)
    assert ((product - x.double() @ dense.double().t()).abs() <= rounding(x, dense)).all()


def test_packed_weights_take_a_quarter_of_fp32_or_less() -> None:
    for kind, bits in (("Q4_1", 6), ("Q8_0", 9), ("Q6_K", 10)):
        packed, dense = packed_and_dense(kind, 64, 512)
        assert packed.nbytes == dense.numel() * bits / 8


def test_without_a_compiler_the_library_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(FileNotFoundError, match="no C compiler"):
        compile_library(SOURCE, tmp_path / "packed.so")
