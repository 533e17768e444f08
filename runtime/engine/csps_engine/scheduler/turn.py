"""In which order prompts that wait take their turn: pure.

By when they came, plus PATIENCE times what they would take. Shorter ones thus pass, but only those that came at most so
long after.

In an overload that order makes nearly every prompt late. So one that can't have its first token in time any more stands
back behind those that still can, until it has waited for PASSED_FOR objectives; from then on it goes before all that
have not. Where nobody is late, or nobody has an objective, the order is the one above.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PATIENCE = 2.0
PASSED_FOR = 4.0


@dataclass(frozen=True, slots=True)
class Objective:
    """Within `seconds` of its arrival a prompt should have its first token; it has `waited` for so many."""

    seconds: float = math.inf
    waited: float = 0.0

    def standing(self, fastest: float) -> int:
        """0: has waited too long to be passed; 1: can be in time if it takes `fastest` seconds; 2: can't."""
        if self.waited >= PASSED_FOR * self.seconds:
            return 0
        return 1 if self.waited + fastest <= self.seconds else 2


NO_OBJECTIVE = Objective()


def turn(since: float, fastest: float, objective: Objective) -> tuple[int, float]:
    """Lower ones go first; `fastest`: seconds that it takes on as many ranks as serve it best."""
    return objective.standing(fastest), since + PATIENCE * fastest
