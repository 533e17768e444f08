"""Runs the model over calibration prompts and collects each layer's curve."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from csps_engine.attention.attend import attend
from csps_engine.calibrate.curve import Curve, LayerJudge
from csps_engine.csa.settings import CsaSettings
from csps_engine.model.llama import Llama


def observe(
    model: Llama, prompts: Sequence[Sequence[int]], ranks: int, settings: CsaSettings, progress: Callable[[str], None]
) -> list[Curve]:
    """The mean curve of each layer over prompts of equal length, computed exactly on one rank."""
    judge = LayerJudge(len(prompts[0]), ranks, settings)
    total: list[Curve] = []
    with torch.inference_mode():
        for number, prompt in enumerate(prompts, 1):
            curves = _prompt(model, prompt, judge)
            total = [one + other for one, other in zip(total, curves, strict=True)] if total else curves
            progress(f"prompt {number} of {len(prompts)}: {len(prompt)} tokens, {model.config.layers} layers")
    return [curve / len(prompts) for curve in total]


def _prompt(model: Llama, prompt: Sequence[int], judge: LayerJudge) -> list[Curve]:
    x = model.embed(torch.tensor(prompt, device=model.device))
    turn = model.turn(torch.arange(len(prompt), device=model.device))
    curves = []
    for layer in range(model.config.layers):
        q, k, v = model.qkv(layer, x, turn)
        keys, values = (part.transpose(0, 1).contiguous() for part in (k, v))
        curves.append(judge.curve(q.cpu(), keys.cpu()))
        model.finish(layer, x, attend(q, keys, values, causal=True).out)
    return curves
