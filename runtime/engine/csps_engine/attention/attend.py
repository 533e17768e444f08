"""Exact attention of a block of queries over a block of keys, with log-sum-exp.

Queries are token-major [T, H, D], keys and values head-major [K, S, D] with H a multiple of K (GQA). KV heads are
never repeated in memory: each is presented as a batch entry, broadcast over its group of query heads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from csps_engine.attention.partial import Partial, nothing
from csps_engine.attention.row import attend_row


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Partial:
    """Attention of q [T, H, D] over k, v [K, S, D].

    `causal`: query i sees keys 0 … i; S must equal T. Otherwise every query sees every key.
    """
    tokens, heads, size = q.shape
    kv_heads, keys = k.shape[:2]
    if tokens == 0 or keys == 0:
        return nothing(q)
    if causal and keys != tokens:
        raise ValueError(f"causal attention needs as many keys as queries, not {keys} for {tokens}")
    group = heads // kv_heads
    if tokens == 1 and (row := attend_row(q, k, v)) is not None:
        return Partial(*row)
    if tokens == 1:
        # One query: its group stands in for the token dimension, so that each key is read once.
        out, lse = _kernel(q.view(1, kv_heads, group, size), k[None], v[None], False)
        return Partial(out.reshape(1, heads, size), lse.reshape(1, heads))
    grouped = q.unflatten(1, (kv_heads, group)).permute(1, 2, 0, 3)  # [K, G, T, D]
    wide = (kv_heads, group, keys, size)
    out, lse = _kernel(grouped, k[:, None].expand(wide), v[:, None].expand(wide), causal)
    return Partial(out.permute(2, 0, 1, 3).flatten(1, 2), lse.permute(2, 0, 1).flatten(1, 2))


def attend_reference(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Partial:
    """What `attend` computes, written out; fp32 or fp64 by the input."""
    group = q.shape[1] // k.shape[0]
    keys, values = k.repeat_interleave(group, 0), v.repeat_interleave(group, 0)  # [H, S, D]
    scores = torch.einsum("thd,hsd->ths", q, keys) * q.shape[-1] ** -0.5
    if causal:
        unseen = torch.ones(scores.shape[0], scores.shape[2], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(unseen[:, None], float("-inf"))
    lse = scores.logsumexp(-1)
    return Partial(torch.einsum("ths,hsd->thd", torch.exp(scores - lse.unsqueeze(-1)), values), lse)


def _kernel(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """Flash attention of q [B, H, T, D] over k, v [B, H, S, D]: output and log-sum-exp [B, H, T]."""
    aten = torch.ops.aten
    if q.device.type == "cpu":
        out, lse = aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal)
        return out, lse.float()
    if q.dtype in (torch.float16, torch.bfloat16):
        out, lse, *_ = aten._scaled_dot_product_flash_attention(q, k, v, 0.0, causal, False)
        return out, lse
    # fp32 on a GPU: the memory-efficient kernel; it pads the log-sum-exp to a multiple of 32 queries.
    out, lse, *_ = aten._scaled_dot_product_efficient_attention(q, k, v, None, True, 0.0, causal)
    return out, lse[..., : q.shape[2]]
