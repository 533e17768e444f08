"""Gauges of what a rank holds and what waits, as the operator reads them.

Generated from runtime/wire/engineMetrics.ts by `npm run generate`; do not edit.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class EngineMetric(NamedTuple):
    """A gauge by its name, what it tells, and its labels."""

    name: str
    about: str
    labels: tuple[str, ...] = ()


RANK_INFO: Final = EngineMetric(
    "csps_rank_info",
    "Which rank this is: 1, with the pod's UID as incarnation",
    ("rank_id", "incarnation", "role", "group", "deployment"),
)
COORDINATES: Final = EngineMetric(
    "csps_rank_coordinates",
    "1 on the rank that coordinates its group's present or last epoch, else 0",
)
PAGES: Final = EngineMetric(
    "csps_kv_pages",
    "KV pages of this rank",
)
PAGES_FREE: Final = EngineMetric(
    "csps_kv_pages_free",
    "KV pages of this rank that nobody holds",
)
PAGES_HELD: Final = EngineMetric(
    "csps_kv_pages_held",
    "KV pages of this rank that requests hold: what a drain still has to move",
)
PAGE_TOKENS: Final = EngineMetric(
    "csps_kv_page_tokens",
    "Tokens of a KV page",
)
POOL_PAGES: Final = EngineMetric(
    "csps_pool_kv_pages",
    "On a pool's coordinator: KV pages of all its ranks, else 0",
)
POOL_PAGES_FREE: Final = EngineMetric(
    "csps_pool_kv_pages_free",
    "On a pool's coordinator: KV pages of all its ranks that nobody holds, else 0",
)
WAITING_PROMPT_TOKENS: Final = EngineMetric(
    "csps_prompt_tokens_waiting",
    "Prompt tokens of the requests that wait in the group",
)
RUNNING_PROMPT_TOKENS: Final = EngineMetric(
    "csps_prompt_tokens_running",
    "Prompt tokens of the requests that the group prefills now",
)
OLDEST_WAIT: Final = EngineMetric(
    "csps_oldest_wait_seconds",
    "How long the oldest of the waiting requests has waited, 0 when none waits",
)

ENGINE_METRICS: Final = (
    RANK_INFO,
    COORDINATES,
    PAGES,
    PAGES_FREE,
    PAGES_HELD,
    PAGE_TOKENS,
    POOL_PAGES,
    POOL_PAGES_FREE,
    WAITING_PROMPT_TOKENS,
    RUNNING_PROMPT_TOKENS,
    OLDEST_WAIT,
)
