"""Draw a token from logits.

The token at position p is the point where the cumulative probability, likeliest token first, passes a random
number keyed by (seed, p). So a request that is run again, whole or from its middle, draws the same tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from csps_engine.core.draw import unit_random
from csps_engine.core.plan import SampledToken, Sampling


def sample(logits: Tensor, sampling: Sampling, position: int) -> SampledToken:
    """Draw the token at absolute `position` from logits [vocab] in fp32."""
    token = int(logits.argmax()) if sampling.temperature == 0 else _draw(logits, sampling, position)
    if not sampling.want_logprobs and sampling.logprobs == 0:
        return SampledToken(token)
    logprobs = torch.log_softmax(logits, -1)
    top: tuple[tuple[int, float], ...] = ()
    if sampling.logprobs > 0:
        values, ids = logprobs.topk(min(sampling.logprobs, logits.shape[-1]))
        top = tuple(zip(ids.tolist(), values.tolist(), strict=True))
    return SampledToken(token, float(logprobs[token]), top)


def _draw(logits: Tensor, sampling: Sampling, position: int) -> int:
    ordered, ids = torch.sort(logits.double() / sampling.temperature, descending=True, stable=True)
    mass = torch.softmax(ordered, -1).cumsum(-1)
    # The nucleus: the fewest likeliest tokens whose mass reaches top_p; never none.
    kept = min(int(torch.searchsorted(mass, sampling.top_p)) + 1, len(mass)) if sampling.top_p < 1 else len(mass)
    point = unit_random(sampling.seed, position) * float(mass[kept - 1])
    return int(ids[min(int(torch.searchsorted(mass, point, right=True)), kept - 1)])
