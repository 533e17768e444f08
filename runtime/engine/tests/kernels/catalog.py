"""Every kernel in the forms that the launchers ask for, as Triton's compiler takes them without a device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from csps_engine.kernels import block_sparse, digest, expected_weight, merge, paged_decode, votes

PAGE = 64
GROUP = 4
BLOCK = 32


@dataclass(frozen=True)
class Case:
    """One kernel for one type and head size. Other arguments are i32."""

    name: str
    kernel: Any
    pointers: dict[str, str]
    """Argument → element type. Pointers are aligned to 16 bytes, as torch allocates."""
    constants: dict[str, int | str]
    aligned: tuple[str, ...] = ()
    """i32 arguments that are multiples of 16, which Triton notices at launch."""
    options: dict[str, int] = field(default_factory=lambda: {"num_warps": 4})
    fractions: tuple[str, ...] = ()
    """Arguments that are fp32."""

    def signature(self) -> dict[str, str]:
        kinds = {name: f"*{kind}" for name, kind in self.pointers.items()} | dict.fromkeys(self.fractions, "fp32")
        return {
            name: "constexpr" if name in self.constants else kinds.get(name, "i32") for name in self.kernel.arg_names
        }

    def attributes(self) -> dict[tuple[int], list[list[Any]]]:
        wide = {*self.pointers, *self.aligned}
        return {(place,): [["tt.divisibility", 16]] for place, name in enumerate(self.kernel.arg_names) if name in wide}


def cases(kind: str, size: int) -> list[Case]:
    """All kernels for inputs of `kind` ("bf16", "fp16" or "fp32") with heads of `size`."""
    dtype = torch.float32 if kind == "fp32" else torch.bfloat16
    attention = block_sparse.plan(dtype, size)
    vote, weigh = votes.tile_for(dtype), expected_weight.tile_for(dtype)
    decode = paged_decode.plan(dtype)
    return [
        Case(
            f"digest-{kind}-{size}",
            digest.digest_kernel,
            {"k": kind, "digests": "i8"},
            {"block": 32, "size": size},
            ("k_head", "k_token"),
            {"num_warps": 1},
        ),
        Case(
            f"votes-{kind}-{size}",
            votes.votes_kernel,
            {"q": kind, "lse": "fp32", "digests": "i8", "scales": "fp32", "votes": "fp32"},
            {"group": GROUP, "size": size, "tile_rows": vote.rows, "tile_blocks": vote.blocks},
            ("q_token", "q_head"),
            {"num_warps": votes.WARPS},
        ),
        Case(
            f"expected-weight-{kind}-{size}",
            expected_weight.expected_weight_kernel,
            {"q": kind, "digests": "i8", "scales": "fp32", "weights": "fp32"},
            {
                "size": size,
                "tile_rows": weigh.rows,
                "tile_blocks": weigh.blocks,
                "precision": "ieee" if kind == "fp32" else "tf32",
            },
            ("q_row",),
            {"num_warps": expected_weight.WARPS},
            ("log_tokens", "spread_of_square"),
        ),
        Case(
            f"block-sparse-{kind}-{size}",
            block_sparse.block_sparse_kernel,
            {
                **dict.fromkeys(("q", "k", "v", "out"), kind),
                **dict.fromkeys(("positions", "row", "count", "first", "begin", "end", "listed"), "i32"),
                "lse": "fp32",
            },
            {"group": GROUP, "size": size, "tile_queries": attention.queries, "block_tokens": BLOCK},
            ("q_token", "q_head", "kv_row"),
            {"num_warps": attention.warps, "num_stages": attention.stages},
        ),
        *(
            Case(
                f"{name}-{kind}-{size}",
                paged_decode.paged_decode_kernel,
                {**dict.fromkeys("qkv", kind), "table": "i32", "lengths": "i32", "outs": "fp32", "lses": "fp32"},
                {"group": GROUP, "size": size, "page": page, "tile_rows": paged_decode.tile_rows(GROUP)},
                ("q_row", "q_head", "kv_head", "kv_token"),
                {"num_warps": decode.warps, "num_stages": decode.stages},
            )
            # Chosen blocks are read as pages of their own size.
            for name, page in (("paged-decode", PAGE), ("chosen-decode", BLOCK))
        ),
        Case(
            f"merge-{kind}-{size}",
            merge.merge_kernel,
            {"outs": "fp32", "lses": "fp32", "out": kind, "lse": "fp32"},
            {"size": size, "tile_rows": merge.TILE_ROWS},
        ),
        Case(
            f"merge-pair-{kind}-{size}",
            merge.merge_pair_kernel,
            {**dict.fromkeys(("out_a", "out_b", "out"), kind), **dict.fromkeys(("lse_a", "lse_b", "lse"), "fp32")},
            {"size": size, "tile_rows": merge.TILE_ROWS},
        ),
    ]
