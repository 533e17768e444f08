"""Whether sparse attention of a prompt is worth it on a group of ranks, by its cost beside that of the exact form.

A layer of it, on the busiest rank:
    dense products + choosing + max(own keys, the chosen ones on their way) + the chosen keys
Choosing (digests, votes, lists, small exchanges) is measured on the ranks, as a time for each layer and for each own
token. How much is fetched and read depends on the text: what is assumed was measured on prose, and the gain has to be
MARGIN at least, since the exact form is never to be faster.
"""

from __future__ import annotations

from csps_engine.csa.settings import CsaSettings
from csps_engine.model.config import ModelConfig
from csps_engine.pipeline.cost import LayerWork, Speeds, attention_seconds, layer_seconds, layer_work

FETCHED = 0.67
"""Of the rows that exact attention would move."""
OWN_READ, FETCHED_READ = 0.7, 0.55
"""Of the attention to own keys and to other ranks', in time."""
MARGIN = 0.07


def sparse_work(config: ModelConfig, tokens: int, ranks: int, element_bytes: int, settings: CsaSettings) -> LayerWork:
    """Of a layer, beside choosing."""
    exact = layer_work(config, "kvGather", tokens, ranks, element_bytes)
    row = 2 * config.head_dim * element_bytes
    packed = 2 * config.head_dim + 2 if settings.packing == "eightBit" else row
    return LayerWork(
        exact.linear_flops,
        OWN_READ * exact.local_flops,
        FETCHED_READ * exact.remote_flops,
        FETCHED * exact.inward_bytes * packed / row,
        0.0,
    )


def sparse_layer_seconds(work: LayerWork, speeds: Speeds, own_tokens: float) -> float:
    """Of one layer."""
    choosing = speeds.choosing_seconds + own_tokens * speeds.choosing_token_seconds
    return work.linear_flops / speeds.linear_flops + choosing + attention_seconds(work, speeds, 1)


def sparse_pays(sparse: LayerWork, exact: LayerWork, speeds: Speeds, pieces: int, own_tokens: float) -> bool:
    """Whether a layer saves MARGIN beside the exact form in so many pieces."""
    return sparse_layer_seconds(sparse, speeds, own_tokens) < (1 - MARGIN) * layer_seconds(exact, speeds, pieces)
