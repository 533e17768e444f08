"""The coordinator's book of a prefill group: what waits, who computes what, and what each tick brings.

A tick is a slice of time: every rank computes some layers of what it is at, then all tell how far they are. The slice
is as long as the slowest prompt's layer, or SLICE_SECONDS; prompts with faster layers get more of them. Those that go
before others on their ranks come first in it. Prompts of one pass go on together. One that goes on from a known
beginning is advanced by what of that is there on all its ranks, so that nobody waits for what is on its way.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from csps_engine.core.plan import AttentionKind
from csps_engine.loop.prefill_costs import PrefillCosts
from csps_engine.loop.prefill_queue import PrefillQueue, PrefillTask
from csps_engine.loop.prefill_run import ANY_LAYERS, PUSHING, Standing
from csps_engine.loop.prefix_reuse import reused_tokens
from csps_engine.loop.prompt import Prompt
from csps_engine.scheduler.assign import Group, Start, Underway, Waiting, assign
from csps_engine.scheduler.ticks import Advance, PrefillOrder, Tick
from csps_engine.scheduler.turn import Objective

SLICE_SECONDS = 0.1
"""So often, or after each layer, ranks may begin something else, and a cancelled prompt is left."""
MEASURE_TOKENS = 512
"""A prompt with so many tokens for each rank waits for the group's speeds to be measured, if they are not yet."""
PUSHING_PER_RANK = 4
"""So many prompts for each rank may wait for the pool's acknowledgement; then none begins."""
NEWEST_SHARE = 0.5
"""Weight of the newest tick in a prompt's layer time."""


@dataclass(frozen=True, slots=True)
class Passes:
    """Which prompts a rank may compute in one pass."""

    tokens: int = 0
    """Of all together."""
    sparse: bool = True
    """Also those that ask for sparse attention: on one rank it is exact."""


NO_PASSES = Passes()


class PrefillBook:
    """The engine thread owns it; one for all epochs of a rank."""

    def __init__(
        self,
        costs: PrefillCosts,
        layers: int,
        layer_limit_seconds: float = math.inf,
        passes: Passes = NO_PASSES,
    ) -> None:
        self.queue = PrefillQueue()
        self.running: dict[str, Prompt] = {}
        self._costs = costs
        self._layers = layers
        self._layer_limit_seconds = layer_limit_seconds
        self._passes = passes
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
        seconds = {a.request_id: standings[a.request_id].seconds for a in tick.advances if a.request_id in standings}
        for prompt in self._advancing():
            if prompt.task.request_id not in seconds:
                prompt.yielded += max([0.0, *(seconds[a.request_id] for a in self._before(prompt, tick))])
        for advance in tick.advances:
            first, standing = self.running.get(advance.request_id), standings.get(advance.request_id)
            if first is None or standing is None:
                continue
            newest = standing.seconds / advance.layers
            for prompt in self._mates(first):
                prompt.spent += standing.seconds
                prompt.layers_done += advance.layers
                prompt.layer_seconds += NEWEST_SHARE * (newest - prompt.layer_seconds)
                if standing.state <= PUSHING and prompt.computed_at is None:
                    prompt.computed_at = now
            if standing.state <= PUSHING and not first.reused_tokens:
                spent = first.spent / first.layers
                self._costs.took(first.pass_tokens, len(first.ranks), first.attention, spent)
        for request_id in self.running.keys() & standings.keys():
            self.running[request_id].ready_layers = standings[request_id].ready

    def forget(self) -> list[Prompt]:
        """The epoch is over: what was begun in it."""
        begun, self.running, self._left = list(self.running.values()), {}, []
        return begun

    def _begin(self, ranks: Sequence[int], now: float) -> list[PrefillOrder]:
        # What waits for its beginning keeps no rank busy.
        computing = self._advancing()
        pushing = sum(1 for prompt in self.running.values() if not prompt.layers_left)
        if not self.queue or pushing >= PUSHING_PER_RANK * len(ranks):
            return []
        group = Group(
            ranks=tuple(ranks),
            underway=tuple(Underway(p.ranks, p.seconds_left, p.yields, p.before) for p in computing),
            seconds=self._costs.seconds,
            line_seconds=_slice(computing),
            fits=lambda tokens, count: self._costs.layer_seconds(tokens, count) <= self._layer_limit_seconds,
            pass_tokens=self._passes.tokens,
        )
        starts = assign([self._waiting(task, now) for task in self.queue.waiting()], group)
        tokens = {task.request_id: len(task.token_ids) for task in self.queue.waiting()}
        together: dict[str, int] = {}
        for start in starts:
            first = start.joined or start.request_id
            together[first] = together.get(first, 0) + tokens[start.request_id]
        return [self._order(start, together[start.joined or start.request_id], now) for start in starts]

    def _waiting(self, task: PrefillTask, now: float) -> Waiting:
        tokens = len(task.token_ids)
        attention = self._costs.attention(tokens, 1, task.attention)
        whole = not reused_tokens(task.reservation, attention, tokens)
        joins = whole and (attention == "dense" or self._passes.sparse)
        objective = Objective(task.objective_seconds, task.waited_seconds + now - task.received_at)
        return Waiting(task.request_id, tokens, task.received_at, task.degree, joins, objective)

    def _order(self, start: Start, pass_tokens: int, now: float) -> PrefillOrder:
        task, ranks = self.queue.take(start.request_id), start.ranks
        tokens = len(task.token_ids)
        attention = self._costs.attention(tokens, len(ranks), task.attention)
        reused = reused_tokens(task.reservation, attention, tokens)
        # What follows a known beginning attends to it exactly.
        attends: AttentionKind = "dense" if reused else attention
        layer_seconds = self._costs.layer_seconds(pass_tokens - reused, len(ranks), attends)
        self.running[start.request_id] = Prompt(
            task,
            ranks,
            self._layers,
            layer_seconds,
            taken_at=now,
            pass_name=start.joined or start.request_id,
            pass_tokens=pass_tokens,
            seconds=self._layers * layer_seconds,
            attention=attends,
            before=start.before,
            reused_tokens=reused,
            ready_layers=0 if reused else ANY_LAYERS,
        )
        return PrefillOrder(
            request_id=start.request_id,
            token_ids=task.token_ids,
            sampling=task.sampling,
            reservation=task.reservation.to_json().decode(),
            budget_ms=max(1, int(1000 * (task.deadline - now))),
            ranks=ranks,
            pieces=self._costs.pieces(tokens, len(ranks)),
            attention=attention,
            joined=start.joined,
        )

    def _advances(self) -> list[Advance]:
        computing = sorted(self._advancing(), key=lambda prompt: not prompt.before)
        span = _slice(computing)
        spent: dict[int, float] = {}
        advances = []
        for prompt in computing:
            begin = max(spent.get(rank, 0.0) for rank in prompt.ranks)
            fitting = int((span - begin) / prompt.layer_seconds) if prompt.layer_seconds > 0 else prompt.layers_left
            layers = min(prompt.layers_left, prompt.ready_layers, max(fitting, 0 if begin > 0 else 1))
            if layers > 0:
                advances.append(Advance(prompt.task.request_id, layers))
                spent |= dict.fromkeys(prompt.ranks, begin + layers * prompt.layer_seconds)
        return advances

    def _computing(self) -> list[Prompt]:
        """What is not computed yet, one prompt of each pass, in the order in which it began."""
        first: dict[str, Prompt] = {}
        for prompt in self.running.values():
            if prompt.layers_left:
                first.setdefault(prompt.pass_name, prompt)
        return list(first.values())

    def _advancing(self) -> list[Prompt]:
        """What can go on now."""
        return [prompt for prompt in self._computing() if prompt.ready_layers]

    def _mates(self, one: Prompt) -> list[Prompt]:
        """All of its pass."""
        return [prompt for prompt in self.running.values() if prompt.pass_name == one.pass_name]

    def _before(self, prompt: Prompt, tick: Tick) -> list[Advance]:
        """What went before a prompt in a tick."""
        others = [(a, self.running[a.request_id].ranks) for a in tick.advances if a.request_id in self.running]
        return [advance for advance, ranks in others if not set(ranks).isdisjoint(prompt.ranks)]


def _slice(computing: Sequence[Prompt]) -> float:
    """Seconds of a tick."""
    return max([SLICE_SECONDS, *(prompt.layer_seconds for prompt in computing)])
