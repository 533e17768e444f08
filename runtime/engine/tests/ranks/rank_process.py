"""Real rank processes on loopback, and the part of the operator: pushing rosters."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from free_ports import free_ports
from nursery import Nursery
from rank_api import RankApi

TOKEN = "token-of-the-tests"
ENGINE = Path(__file__).parents[2]


@dataclass(frozen=True)
class Place:
    """Where ranks of a test live."""

    folder: Path
    model: Path
    settings: dict[str, str]
    nursery: Nursery
    anew: bool = False
    """Ranks start as in a pod, from nothing."""


class RankProcess:
    """One rank; `restart` makes the next incarnation under the same name."""

    def __init__(self, place: Place, group: str, role: str, ordinal: int) -> None:
        self.place, self.group, self.role = place, group, role
        self.rank_id = f"{group}-{ordinal}"
        self.log = place.folder / f"{self.rank_id}.log"
        self.start()

    def start(self) -> None:
        self.incarnation = str(uuid.uuid4())
        self.control_port = free_ports()
        self.transfer_port = free_ports(int(self.place.settings.get("CSPS_TENSOR_PARALLEL", "1")))
        token_file = self.place.folder / "token"
        # Written once: a rank that starts meanwhile would read the file while it is empty.
        if not token_file.exists():
            token_file.write_text(TOKEN + "\n")
        environment = {
            "CSPS_NAMESPACE": "test",
            "CSPS_DEPLOYMENT": "tiny",
            "CSPS_GROUP": self.group,
            "CSPS_ROLE": self.role,
            "CSPS_RANK_ID": self.rank_id,
            "CSPS_INCARNATION": self.incarnation,
            "CSPS_ADDRESS": "127.0.0.1",
            "CSPS_CONTROL_PORT": str(self.control_port),
            "CSPS_TRANSFER_PORT": str(self.transfer_port),
            "CSPS_CONTROL_TOKEN_FILE": str(token_file),
            "CSPS_MODEL_PATH": str(self.place.model),
            "CSPS_MODEL_NAME": "tiny",
            "CSPS_CONTEXT_LENGTH": "2048",
            "OMP_NUM_THREADS": "1",
            **self.place.settings,
        }
        self.process = self.place.nursery.start(environment, self.log, self.place.anew)
        self.api = RankApi("127.0.0.1", self.control_port, TOKEN)

    @property
    def ref(self) -> dict[str, Any]:
        return {
            "rankId": self.rank_id,
            "incarnation": self.incarnation,
            "address": "127.0.0.1",
            "controlPort": self.control_port,
            "transferPort": self.transfer_port,
        }

    def state(self) -> dict[str, Any]:
        return self.api.get("/v1/state").body

    def followers(self) -> list[int]:
        """Pids of the other processes of the rank, where it is several."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait(60)

    def restart(self) -> None:
        self.close()
        self.start()

    def close(self) -> None:
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()


class Group:
    """The ranks of one SPGroup or DecodePool."""

    def __init__(self, place: Place, name: str, role: str, size: int) -> None:
        self.name, self.role = name, role
        self.ranks = [RankProcess(place, name, role, ordinal) for ordinal in range(size)]
        self.generation = 0

    @contextmanager
    def served(self) -> Iterator[Group]:
        """The group once it serves; in the end it is closed."""
        try:
            self.wait_loaded()
            self.push_roster()
            self.wait_serving()
            yield self
        finally:
            self.close()

    def push_roster(self, members: list[RankProcess] | None = None, fence: int = 1) -> None:
        """To every member, as the operator does."""
        chosen = self.ranks if members is None else members
        self.generation += 1
        for rank in chosen:
            answer = rank.api.post("/v1/roster", self.roster(chosen, fence, self.generation))
            assert answer.status == 200, answer

    def roster(self, members: list[RankProcess], fence: int, generation: int) -> dict[str, Any]:
        return {
            "group": self.name,
            "role": self.role,
            "fence": fence,
            "generation": generation,
            "minSize": 1,
            "members": [rank.ref for rank in members],
        }

    def wait_loaded(self) -> None:
        for rank in self.ranks:
            wait_for(lambda r=rank: r.api.get("/v1/state").body["phase"] not in ("loading", "failed"), rank, 240)

    def wait_serving(self, members: list[RankProcess] | None = None, seconds: float = 90) -> RankProcess:
        """Until exactly these ranks serve in one epoch; returns its coordinator."""
        chosen = self.ranks if members is None else members
        wanted = {rank.rank_id for rank in chosen}

        def together() -> bool:
            states = [rank.state() for rank in chosen]
            return (
                all(s["phase"] == "serving" and set(s["epochMembers"]) == wanted for s in states)
                and len({s["epoch"] for s in states}) == 1
            )

        wait_for(together, chosen[0], seconds)
        first = chosen[0].state()["epochMembers"][0]
        return next(rank for rank in chosen if rank.rank_id == first)

    def restore(self) -> RankProcess:
        """Bring back whoever is gone, with a roster of all."""
        for rank in self.ranks:
            if rank.process.poll() is not None:
                rank.restart()
        self.wait_loaded()
        self.push_roster()
        return self.wait_serving()

    def close(self) -> None:
        for rank in self.ranks:
            rank.close()


def wait_for(condition: Callable[[], bool], rank: RankProcess, seconds: float) -> None:
    """Poll until the condition holds; a rank that answers nothing yet counts as not yet."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert rank.process.poll() is None, f"{rank.rank_id} exited:\n{rank.log.read_text()[-4000:]}"
        try:
            if condition():
                return
        except (OSError, KeyError):
            pass
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s; {rank.rank_id} says:\n{rank.log.read_text()[-4000:]}")


def others(group: Group, gone: RankProcess) -> list[RankProcess]:
    return [rank for rank in group.ranks if rank is not gone]


def pages_free(group: Group) -> Iterator[tuple[int, int]]:
    for rank in group.ranks:
        state = rank.state()
        yield state["pagesFree"], state["pagesTotal"]
