"""What a connection to a holder's transfer port is for, and how it is opened."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from types import MappingProxyType
from typing import Any, NamedTuple

from csps_engine.core.kvshape import KvShape
from csps_engine.refusal import Refused, refuse
from csps_engine.transfer.frame import TransferBroken, receive_json, send_json
from csps_engine.wire.generated import Failure, RankRef

CONNECT_SECONDS = 5.0
NO_OFFER: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Errand:
    """What all frames of a connection have in common."""

    request_id: str
    version: int
    holder: RankRef
    token: str
    shape: KvShape
    deadline: float
    """time.monotonic() by which everything must be over."""
    move_id: str = ""
    """Empty: the KV of a prompt."""

    def left(self) -> float:
        """Seconds until the deadline; raises Refused when it has passed."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise refuse("deadline_exceeded", f"{self.holder.rank_id} did not answer in time")
        return left


class Greeted(NamedTuple):
    """A connection, and what the holder answered to the greeting."""

    connection: socket.socket
    answer: dict[str, Any]


def connect(errand: Errand, patience: float = inf, offer: Mapping[str, Any] = NO_OFFER) -> Greeted:
    """Greet the holder; raises OSError, TransferBroken or Refused.

    `patience`: longest silence in seconds. `offer`: what the transport adds to the greeting.
    """
    port = errand.holder.transfer_port + errand.shape.tensor_rank
    timeout = min(CONNECT_SECONDS, patience, errand.left())
    connection = socket.create_connection((errand.holder.address, port), timeout=timeout)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        send_json(connection, {**offer, "token": errand.token})
        answer = read_answer(connection, errand, patience)
    except BaseException:
        connection.close()
        raise
    return Greeted(connection, answer)


def read_answer(connection: socket.socket, errand: Errand, patience: float = inf) -> dict[str, Any]:
    """The holder's next answer; raises Refused when it refuses."""
    connection.settimeout(min(patience, errand.left()))
    answer = receive_json(connection)
    if answer is None:
        raise TransferBroken("the holder closed the connection")
    if "code" in answer:
        failure = {"code": answer["code"], "message": f"{errand.holder.rank_id}: {answer.get('message')}"}
        raise Refused(Failure.model_validate(failure))
    return answer


def failure_of(error: Exception, errand: Errand, what: str) -> Failure:
    """How a broken connection is told; `what` could not be done."""
    if isinstance(error, Refused):
        return error.failure
    late = time.monotonic() >= errand.deadline
    return Failure(
        code="deadline_exceeded" if late else "lost_pages",
        message=f"{what} {errand.holder.rank_id}: {error!r}",
    )
