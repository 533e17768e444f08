"""Where this rank stands: its phase, its epoch and why the last one ended. Lives on the event loop."""

from __future__ import annotations

import asyncio
import time

from csps_engine.loop.epoch_work import Epoch
from csps_engine.metrics import Metrics
from csps_engine.wire.generated import RankPhase, RankRef


class Standing:
    """`changed` is set whenever something here changes."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.changed = asyncio.Event()
        self.loaded = False
        self.failed = ""
        self.draining = False
        self.has_roster = False
        self.serving: Epoch | None = None
        self.joining: Epoch | None = None
        self.last: Epoch | None = None
        """The newest epoch that this rank served in."""
        self.waiting_for = "the model is being loaded"
        self.last_break = ""
        self.without_since = time.monotonic()
        """Since when no epoch serves; meaningless while one does."""

    @property
    def phase(self) -> RankPhase:
        if self.failed:
            return "failed"
        if not self.loaded:
            return "loading"
        if self.draining:
            return "draining"
        if self.serving is not None:
            return "serving"
        return "forming" if self.has_roster else "awaitingRoster"

    @property
    def reason(self) -> str:
        """Why the phase is what it is; empty when serving."""
        if self.failed or self.phase == "serving":
            return self.failed
        return "the rank was asked to stop" if self.draining else self.waiting_for

    @property
    def coordinator(self) -> RankRef | None:
        """Of the present epoch; between epochs the last one's, for it knows the running requests."""
        epoch = self.serving or self.last
        return epoch.proposal.coordinator if epoch else None

    def join(self, epoch: Epoch) -> None:
        """Leave what serves for an epoch that is about to form."""
        if self.serving is not None:
            self.without_since = time.monotonic()
        self.serving, self.joining = None, epoch
        self._metrics.epoch.set(0)
        self.changed.set()

    def formed(self, epoch: Epoch) -> None:
        if self.joining is not epoch:
            return
        self.joining, self.serving, self.last = None, epoch, epoch
        self._metrics.epoch_changes.inc()
        self._metrics.epoch.set(epoch.number)
        self._metrics.epoch_members.set(len(epoch.members))
        self.changed.set()

    def ended(self, epoch: Epoch, reason: str, broken: bool) -> None:
        self.last_break = reason
        if broken:
            self._metrics.epoch_breaks.inc()
        if self.serving is epoch:
            self.serving = None
            self.without_since = time.monotonic()
            self._metrics.epoch.set(0)
        if self.joining is epoch:
            self.joining = None
        self.changed.set()

    async def wait(self, seconds: float) -> None:
        """Return when something changed, or after `seconds`."""
        self.changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self.changed.wait()
        except TimeoutError:
            return
