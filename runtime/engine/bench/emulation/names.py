"""Names of what a testbed makes in the kernel; they say which process made it, so that another can clean up."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

PREFIX = "csps-emu"
_NAME = re.compile(rf"^{PREFIX}-(\d+)-")


def own_name(part: str) -> str:
    """Name of this process's `part`."""
    return f"{PREFIX}-{os.getpid()}-{part}"


def stale(names: Iterable[str]) -> list[str]:
    """Those of `names` that a testbed made whose process is gone."""
    return [name for name in names if (made := _NAME.match(name)) and not os.path.exists(f"/proc/{made[1]}")]
