"""How a rank of tensor degree T becomes T processes: the first forks the others before it does anything else.

Each follower is joined to the first process by a pair of sockets, over which lines of JSON go (crew.py, follower.py).
No process outlives the first: a follower ends when its socket closes, and the kernel ends it if it can't see that.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from dataclasses import dataclass, field

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class FollowerHandle:
    """A follower as process 0 knows it."""

    tensor_rank: int
    pid: int
    connection: socket.socket


@dataclass(frozen=True, slots=True)
class Lead:
    """This is process 0 of its rank."""

    followers: list[FollowerHandle] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Following:
    """This is another process of its rank; the connection leads to process 0."""

    tensor_rank: int
    connection: socket.socket


def become_tensor_ranks(degree: int) -> Lead | Following:
    """Fork degree-1 followers; returns in each of them too. No thread, device or event loop may exist yet."""
    sys.stdout.flush()
    lead = os.getpid()
    followers: list[FollowerHandle] = []
    for tensor_rank in range(1, degree):
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            for other in followers:
                other.connection.close()
            _end_with(lead)
            return Following(tensor_rank, theirs)
        theirs.close()
        followers.append(FollowerHandle(tensor_rank, pid, ours))
    return Lead(followers)


def own_device(tensor_rank: int) -> None:
    """Let this process see one GPU alone, the one of its number: all else then says "the GPU". Before CUDA starts."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    devices = [device for device in visible.split(",") if device]
    os.environ["CUDA_VISIBLE_DEVICES"] = devices[tensor_rank] if tensor_rank < len(devices) else str(tensor_rank)


def _end_with(lead: int) -> None:
    # A stop is for process 0 to act on: it may still hand on what the rank holds.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != lead:
        os._exit(1)
