"""The engine thread: one epoch after another, each in lockstep.

    wait for an epoch to join  ->  meet its members  ->  tick, tick, tick …  ->  leave, or break

The coordinator decides each tick and broadcasts it; every member executes it. An idle coordinator waits for a
command or its heartbeat, the others in the broadcast, so an idle group costs next to nothing and new work
starts at once. A tick is only over when all members executed it, so a dead or hung member shows within the
collective time-out.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from csps_engine.comm.mesh import Mesh, MeshBroken
from csps_engine.loop.epoch_work import Epoch, EpochWork
from csps_engine.loop.inbox import Inbox
from csps_engine.loop.rendezvous import join_store
from csps_engine.loop.seat import Seat
from csps_engine.metrics import Metrics
from csps_engine.scheduler.ticks import Tick, tick_from_bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineTimes:
    """Seconds."""

    heartbeat: float
    collective: float
    """A collective that lasts longer breaks the epoch."""
    form: float = 15.0
    """From an accepted proposal until the mesh stands."""


class EngineThread:
    """Runs `work` epoch by epoch. `on_formed`, `on_ended` and `settle` are called on the engine thread.

    `settle`: asked between ticks of a coordinator that is to leave, whether what was begun has ended by now.
    """

    def __init__(
        self,
        work: EpochWork,
        times: EngineTimes,
        device: str,
        metrics: Metrics,
        on_formed: Callable[[Epoch], None],
        on_ended: Callable[[Epoch, str, bool], None],
        seat: Seat | None = None,
        settle: Callable[[], bool] = lambda: True,
    ) -> None:
        self.inbox = Inbox()
        self._work = work
        self._times = times
        self._device = device
        self._metrics = metrics
        self._on_formed = on_formed
        self._on_ended = on_ended
        self._seat = seat or Seat()
        self._settle = settle
        self._assigned: tuple[Epoch, Any] | None = None
        self._assigned_at = 0.0
        self._leave_reason: str | None = None
        self._mesh: Mesh | None = None
        self._lock = threading.Lock()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def assign(self, epoch: Epoch, store: Any = None) -> None:
        """Join an epoch, leaving the present one; `store` is given by its host. Any thread."""
        with self._lock:
            self._assigned = (epoch, store)
            self._assigned_at = time.monotonic()
        self._seat.assigned(epoch)
        self.break_off()
        self.inbox.put(lambda: None)

    @property
    def stalled(self) -> bool:
        """The thread ended, or has not turned to its newest epoch although every wait of the old one must be over."""
        if self._thread.ident is not None and not self._thread.is_alive() and not self._stopped:
            return True
        limit = 3 * self._times.collective + 2 * self._times.form
        with self._lock:
            return self._assigned is not None and time.monotonic() - self._assigned_at > limit

    def leave(self, reason: str) -> None:
        """Coordinator: end the epoch between two ticks. Any thread."""
        self._leave_reason = reason
        self.inbox.put(lambda: None)

    def break_off(self) -> None:
        """Break the present epoch at once. Any thread."""
        with self._lock:
            mesh = self._mesh
        if mesh is not None:
            mesh.abort()

    def stop(self, seconds: float) -> None:
        """End the thread; peers see this rank leave."""
        self._stopped = True
        self.break_off()
        self.inbox.put(lambda: None)
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        try:
            while not self._stopped:
                self._take_turn()
        except Exception:
            # Outside of an epoch there is nobody to tell; see `stalled`.
            log.exception("the engine thread ends by a fault of this rank")

    def _take_turn(self) -> None:
        with self._lock:
            assigned, self._assigned = self._assigned, None
        if assigned is None:
            self.inbox.wait(1.0)
            self.inbox.run_all()
        else:
            self._take_part(*assigned)

    def _take_part(self, epoch: Epoch, store: Any) -> None:
        reason, broken = "", True
        self._leave_reason = None
        try:
            mesh = self._meet(epoch, store)
            self._work.start_epoch(epoch, mesh)
            reason = self._tick_until_left(epoch, mesh)
            broken = False
        except (MeshBroken, RuntimeError) as error:
            reason = _first_line(error)
            log.warning("epoch %d broke: %s", epoch.number, reason, exc_info=not isinstance(error, MeshBroken))
        except Exception as error:
            reason = _first_line(error)
            log.exception("epoch %d ended by a fault of this rank", epoch.number)
        finally:
            with self._lock:
                ended, self._mesh = self._mesh, None
            if ended is not None:
                ended.abort()
            try:
                self._work.end_epoch(reason)
            finally:
                self._on_ended(epoch, reason, broken)

    def _meet(self, epoch: Epoch, store: Any) -> Mesh:
        proposal, form = epoch.proposal, timedelta(seconds=self._times.form)
        meeting = store or join_store(proposal.store_host, proposal.store_port, form, self._still_wanted)
        timeout = timedelta(seconds=self._times.collective)
        mesh = self._seat.meet(meeting, epoch, timeout, self._device)
        with self._lock:
            self._mesh = mesh
        if not self._still_wanted():
            raise MeshBroken("superseded while it formed")
        return mesh

    def _still_wanted(self) -> bool:
        """The epoch that forms: no newer one was assigned meanwhile."""
        with self._lock:
            return self._assigned is None and not self._stopped

    def _tick_until_left(self, epoch: Epoch, mesh: Mesh) -> str:
        formed = False
        while True:
            payload = self._decide().to_bytes() if epoch.coordinates else None
            tick = tick_from_bytes(mesh.broadcast_bytes(payload, 0))
            began = time.monotonic()
            self._work.execute(tick)
            if tick.kind != "idle":
                self._metrics.step_seconds.labels(tick.kind).observe(time.monotonic() - began)
            if tick.kind == "leave":
                return tick.reason
            if not formed:
                formed = True
                self._on_formed(epoch)
            if not epoch.coordinates:
                self.inbox.run_all()

    def _decide(self) -> Tick:
        beat = time.monotonic() + self._times.heartbeat
        while True:
            self.inbox.run_all()
            if self._leave_reason is not None and self._settle():
                return Tick("leave", reason=self._leave_reason, book=self._work.farewell())
            tick = self._work.next_tick()
            if tick is not None:
                return tick
            now = time.monotonic()
            if now >= beat:
                return Tick("idle")
            due = self._work.next_due()
            self.inbox.wait(min(beat, beat if due is None else due) - now)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]
