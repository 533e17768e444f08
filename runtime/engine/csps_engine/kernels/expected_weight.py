"""Expected weight of key blocks on the device; the formula and the torch form are in `csa.need`.

One program reads a tile of digests once and multiplies it three times, in whole steps that 16 bits hold exactly:
    q · (high + low),   |q| · (high - low),   q² · (high - low)²
each block's scale is applied afterwards. The squares take fp32 operands, on tensor cores with 11 bits of mantissa.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from csps_engine.kernels.digest import SCALE_BYTES
from csps_engine.kernels.votes import Tile

WARPS = 8


@triton.jit(do_not_specialize=["rows", "blocks"])
def expected_weight_kernel(
    q: tl.tensor,  # [Q, D]
    digests: tl.tensor,  # [C, 2D + 4] int8
    scales: tl.tensor,  # [C] fp32
    weights: tl.tensor,  # [Q, C] fp32
    rows: tl.tensor,
    blocks: tl.tensor,
    q_row: tl.tensor,
    digest_row: tl.tensor,
    log_tokens: tl.tensor,
    spread_of_square: tl.tensor,
    size: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_blocks: tl.constexpr,
    precision: tl.constexpr,
) -> None:
    """Program (i, j): tile i of queries by tile j of blocks."""
    r = tl.program_id(0) * tile_rows + tl.arange(0, tile_rows)
    c = tl.program_id(1) * tile_blocks + tl.arange(0, tile_blocks)
    columns = tl.arange(0, size)
    voter, seen = r < rows, c < blocks
    at = digests + c[None, :].to(tl.int64) * digest_row + columns[:, None]
    low = tl.load(at, mask=seen[None, :], other=0).to(tl.int32)  # [D, C]
    high = tl.load(at + size, mask=seen[None, :], other=0).to(tl.int32)
    queries = tl.load(q + r[:, None].to(tl.int64) * q_row + columns[None, :], mask=voter[:, None], other=0.0)
    kind = q.dtype.element_ty
    width = (high - low).to(kind)
    unit = tl.load(scales + c, mask=seen, other=0.0) * (0.5 * size**-0.5)
    centre = tl.dot(queries, (high + low).to(kind), input_precision="ieee") * unit[None, :]
    bound = tl.dot(tl.abs(queries), width, input_precision="ieee") * unit[None, :]
    wide, square = width.to(tl.float32), queries.to(tl.float32) * queries.to(tl.float32)
    spread = tl.dot(square, wide * wide, input_precision=precision) * (unit * unit * spread_of_square)[None, :]
    result = centre + tl.minimum(spread, bound) + log_tokens
    place = r[:, None].to(tl.int64) * blocks + c[None, :]
    tl.store(weights + place, result, mask=voter[:, None] & seen[None, :])


def tile_for(dtype: torch.dtype) -> Tile:
    """As much as registers hold with three products under way (see the compile check)."""
    return Tile(16, 32) if dtype == torch.float32 else Tile(64, 32)


def expected_weight(q: Tensor, digests: Tensor, log_tokens: float, spread_of_square: float) -> Tensor:
    """Log weights [Q, C] of queries q [Q, D] for digests [C, 2D + 4] of blocks of e^log_tokens keys.

    `spread_of_square`: what (q · half range)² adds to the exponent, 2 / span².
    """
    rows, size = q.shape
    blocks = digests.shape[0]
    weights = torch.empty(rows, blocks, dtype=torch.float32, device=q.device)
    if rows == 0 or blocks == 0:
        return weights
    q = q if q.stride(1) == 1 else q.contiguous()
    digests = digests if digests.stride(1) == 1 else digests.contiguous()
    tile = tile_for(q.dtype)
    expected_weight_kernel[(triton.cdiv(rows, tile.rows), triton.cdiv(blocks, tile.blocks))](
        q,
        digests,
        digests[:, -SCALE_BYTES:].contiguous().view(torch.float32),
        weights,
        rows,
        blocks,
        q.stride(0),
        digests.stride(0),
        log_tokens,
        spread_of_square,
        size,
        tile.rows,
        tile.blocks,
        "ieee" if q.dtype == torch.float32 else "tf32",
        num_warps=WARPS,
    )
    return weights
