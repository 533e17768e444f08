from __future__ import annotations

from pathlib import Path

import torch
from tiny_llama import save_tiny_llama

from csps_engine.model.llama import CHUNK_TOKENS
from csps_engine.model.load import load_model


@torch.inference_mode()
def test_projections_of_a_long_prompt_are_those_of_its_pieces_with_keys_head_by_head_in_memory(tmp_path: Path) -> None:
    save_tiny_llama(tmp_path)
    model, tokens = load_model(tmp_path), 2 * CHUNK_TOKENS + 100
    x, turn = model.embed(torch.arange(tokens) % 90), model.turn(torch.arange(tokens))
    whole = model.qkv(1, x, turn)
    cuts = [slice(first, first + CHUNK_TOKENS) for first in range(0, tokens, CHUNK_TOKENS)]
    for part, name in zip(whole, ("q", "k", "v"), strict=True):
        pieces = [getattr(model.qkv(1, x[cut], turn[cut]), name) for cut in cuts]
        assert torch.equal(part, torch.cat(pieces))
    assert whole.k.transpose(0, 1).is_contiguous()
    assert whole.v.transpose(0, 1).is_contiguous()
