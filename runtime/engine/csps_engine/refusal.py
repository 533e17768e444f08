"""The one error form of the control API, as an exception."""

from __future__ import annotations

from csps_engine.wire.generated import Failure, FailureCode, RankRef

STATUS: dict[FailureCode, int] = {
    "bad_request": 400,
    "unauthorized": 401,
    "unknown_request": 404,
    "stale_fence": 409,
    "stale_epoch": 409,
    "not_coordinator": 409,
    "wrong_incarnation": 409,
    "prompt_too_long": 422,
    "out_of_pages": 429,
    "not_ready": 503,
    "draining": 503,
    "epoch_broken": 503,
    "lost_pages": 503,
    "deadline_exceeded": 504,
    "internal": 500,
}


class Refused(Exception):
    """Something was asked that cannot be done; `failure` says what and why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.code}: {failure.message}")
        self.failure = failure

    @property
    def status(self) -> int:
        return STATUS[self.failure.code]


def refuse(code: FailureCode, message: str, retry_after_ms: int | None = None) -> Refused:
    """A refusal without further fields."""
    return Refused(Failure(code=code, message=message, retry_after_ms=retry_after_ms))


def not_coordinator(asked: str, coordinator: RankRef) -> Refused:
    return Refused(
        Failure(
            code="not_coordinator",
            message=f"{asked} does not coordinate its group, {coordinator.rank_id} does",
            coordinator=coordinator,
        )
    )
