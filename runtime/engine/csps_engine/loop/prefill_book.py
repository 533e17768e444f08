"""The coordinator's book of a prefill group: what waits, who computes what, and what each tick brings.

A tick is a slice of time: every rank computes some layers of what it is at, then all tell how far they are. The slice
is as long as the slowest prompt's layer, or SLICE_SECONDS; prompts with faster layers get more of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from csps_engine.core.plan import AttentionKind
from csps_engine.loop.first_tokens import FirstToken
from csps_engine.loop.prefill_costs import PrefillCosts
from csps_engine.loop.prefill_queue import PrefillQueue, PrefillTask
from csps_engine.loop.prefill_run import PUSHING, Standing
from csps_engine.loop.prefix_reuse import reused_tokens
from csps_engine.scheduler.assign import Group, Underway, Waiting, assign
from csps_engine.scheduler.ticks import Advance, PrefillOrder, Tick

SLICE_SECONDS = 0.1
"""So often, or after each layer, ranks may begin something else, and a cancelled prompt is left."""
MEASURE_TOKENS = 512
"""A prompt with so many tokens for each rank waits for the group's speeds to be measured, if they are not yet."""
PUSHING_PER_RANK = 4
"""So many prompts for each rank may wait for the pool's acknowledgement; then none begins."""
NEWEST_SHARE = 0.5
"""Weight of the newest tick in a prompt's layer time."""


@dataclass(slots=True)
class Prompt:
    """One that was begun."""

    task: PrefillTask
    ranks: tuple[int, ...]
    layers: int
    layer_seconds: float
    """Expected of the next ones."""
    taken_at: float
    layers_done: int = 0
    computed_at: float | None = None
    reused_tokens: int = 0
    """Of its beginning, whose KV is read from the pool."""
    first_token: FirstToken | None = None

    @property
    def layers_left(self) -> int:
        return self.layers - self.layers_done

    @property
    def seconds_left(self) -> float:
        return self.layers_left * self.layer_seconds


class PrefillBook:
    """The engine thread owns it; one for all epochs of a rank."""

    def __init__(
        self, costs: PrefillCosts, layers: int, attention: AttentionKind, layer_limit_seconds: float = math.inf
    ) -> None:
        self.queue = PrefillQueue()
        self.running: dict[str, Prompt] = {}
        self._costs = costs
        self._layers = layers
        self._attention: AttentionKind = attention
        self._layer_limit_seconds = layer_limit_seconds
        self._left: list[str] = []
        """Begun ones that nobody wants any more, not yet told."""

    def wants_measuring(self, ranks: int) -> bool:
        """Now is the time for it: nothing is at hand, or a prompt that is cut by it."""
        if self._costs.measured or self.running:
            return False
        waiting = self.queue.waiting()
        return not waiting or any(len(task.token_ids) >= MEASURE_TOKENS * ranks for task in waiting)

    def leave(self, request_id: str) -> bool:
        """Stop computing a prompt; False when it was not begun."""
        if self.running.pop(request_id, None) is None:
            return False
        self._left.append(request_id)
        return True

    def late(self, now: float) -> list[PrefillTask]:
        """Begun ones whose deadline passed."""
        return [prompt.task for prompt in self.running.values() if prompt.task.deadline <= now]

    def next_tick(self, ranks: Sequence[int], starts: bool, now: float) -> Tick | None:
        """The next slice; new prompts begin on `ranks` alone, and only if `starts`. None: nothing is left to do."""
        orders = self._begin(ranks, now) if starts else []
        left, self._left = tuple(self._left), []
        if not orders and not left and not self.running:
            return None
        return Tick("prefill", ended=left, orders=tuple(orders), advances=tuple(self._advances()))

    def heard(self, tick: Tick, standings: dict[str, Standing]) -> None:
        """How far the ranks are after the tick."""
        now = time.monotonic()
        for advance in tick.advances:
            prompt, standing = self.running.get(advance.request_id), standings.get(advance.request_id)
            if prompt is None or standing is None:
                continue
            prompt.layers_done += advance.layers
            newest = standing.seconds / advance.layers
            prompt.layer_seconds += NEWEST_SHARE * (newest - prompt.layer_seconds)
            if standing.state <= PUSHING and prompt.computed_at is None:
                prompt.computed_at = now
                seconds = (now - prompt.taken_at) / prompt.layers
                if not prompt.reused_tokens:
                    self._costs.took(len(prompt.task.token_ids), len(prompt.ranks), seconds)

    def forget(self) -> list[Prompt]:
        """The epoch is over: what was begun in it."""
        begun, self.running, self._left = list(self.running.values()), {}, []
        return begun

    def _begin(self, ranks: Sequence[int], now: float) -> list[PrefillOrder]:
        computing = [prompt for prompt in self.running.values() if prompt.layers_left]
        if not self.queue or len(self.running) - len(computing) >= PUSHING_PER_RANK * len(ranks):
            return []
        group = Group(
            ranks=tuple(ranks),
            underway=tuple(Underway(prompt.ranks, prompt.seconds_left) for prompt in computing),
            seconds=self._costs.seconds,
            line_seconds=_slice(computing),
            fits=lambda tokens, count: self._costs.layer_seconds(tokens, count) <= self._layer_limit_seconds,
        )
        waiting = [Waiting(t.request_id, len(t.token_ids), t.received_at, t.degree) for t in self.queue.waiting()]
        return [self._order(start.request_id, start.ranks, now) for start in assign(waiting, group)]

    def _order(self, request_id: str, ranks: tuple[int, ...], now: float) -> PrefillOrder:
        task = self.queue.take(request_id)
        tokens, attention = len(task.token_ids), task.attention or self._attention
        reused = reused_tokens(task.reservation, attention, tokens)
        layer_seconds = self._costs.layer_seconds(tokens - reused, len(ranks))
        self.running[request_id] = Prompt(task, ranks, self._layers, layer_seconds, taken_at=now, reused_tokens=reused)
        return PrefillOrder(
            request_id=request_id,
            token_ids=task.token_ids,
            sampling=task.sampling,
            reservation=task.reservation.to_json().decode(),
            budget_ms=max(1, int(1000 * (task.deadline - now))),
            ranks=ranks,
            pieces=self._costs.pieces(tokens, len(ranks)),
            attention=attention,
        )

    def _advances(self) -> list[Advance]:
        computing = [prompt for prompt in self.running.values() if prompt.layers_left]
        span = _slice(computing)
        spent: dict[int, float] = {}
        advances = []
        for prompt in computing:
            begin = max(spent.get(rank, 0.0) for rank in prompt.ranks)
            fitting = int((span - begin) / prompt.layer_seconds) if prompt.layer_seconds > 0 else prompt.layers_left
            layers = min(prompt.layers_left, max(fitting, 0 if begin > 0 else 1))
            if layers > 0:
                advances.append(Advance(prompt.task.request_id, layers))
                spent |= dict.fromkeys(prompt.ranks, begin + layers * prompt.layer_seconds)
        return advances


def _slice(computing: Sequence[Prompt]) -> float:
    """Seconds of a tick."""
    return max([SLICE_SECONDS, *(prompt.layer_seconds for prompt in computing)])
