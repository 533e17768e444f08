"""What the engine loop tells others about requests: stream events and, when Redis is there, shard maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from csps_engine.core.plan import SampledToken, Sampling
from csps_engine.refusal import Refused
from csps_engine.scheduler.request import PoolRequest
from csps_engine.wire.generated import ErrorEvent, Failure, FailureCode, TokenEvent, TokenLogprob, WireMessage

PostEvents = Callable[[Sequence[tuple[str, WireMessage]]], None]

TakeOver = Callable[[PoolRequest], None]
"""Opens the stream of a request that another rank coordinated. Any thread; must not block."""


@dataclass(frozen=True, slots=True)
class ShardReports:
    """Told on the engine thread; must not block."""

    put: Callable[[PoolRequest], None]
    remove: Callable[[str], None]


NO_REPORTS = ShardReports(put=lambda _: None, remove=lambda _: None)


def token_event(index: int, token: SampledToken, sampling: Sampling) -> TokenEvent:
    return TokenEvent(
        type="token",
        index=index,
        token_id=token.token_id,
        logprob=token.logprob if sampling.want_logprobs or sampling.logprobs else None,
        top_logprobs=[TokenLogprob(token_id=t, logprob=p) for t, p in token.top] if sampling.logprobs else None,
    )


def error_event(code: FailureCode, message: str) -> ErrorEvent:
    return ErrorEvent(type="error", error=Failure(code=code, message=message))


def refused_event(refused: Refused) -> ErrorEvent:
    return ErrorEvent(type="error", error=refused.failure)
