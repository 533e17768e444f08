"""What is asked of both systems: a slice of the Mooncake trace of conversations, lengths divided by one number."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from dataclasses import dataclass
from pathlib import Path

LEAST_PROMPT, LEAST_OUTPUT = 8, 3


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of the load."""

    arrival_s: float
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Slice:
    """Which part of the trace, and how it is scaled."""

    first: int
    requests: int
    divide_by: int
    """Of lengths."""
    per_second: float
    """Mean rate of arrivals."""
    longest_prompt: int


def read_slice(trace: Path, part: Slice) -> list[Ask]:
    """In order of arrival. The trace's clock has steps of 3 s; within a step arrivals are strewn evenly at random."""
    with gzip.open(trace, "rt") as lines:
        rows = [json.loads(line) for line in itertools.islice(lines, part.first, part.first + part.requests)]
    draw = random.Random(part.first)
    times = sorted(row["timestamp"] + draw.uniform(0, 3000) for row in rows)
    scale = part.requests / part.per_second / max(1.0, times[-1] - times[0])
    return [
        Ask(
            arrival_s=(at - times[0]) * scale,
            prompt_tokens=min(part.longest_prompt, max(LEAST_PROMPT, row["input_length"] // part.divide_by)),
            output_tokens=max(LEAST_OUTPUT, row["output_length"] // part.divide_by),
        )
        for at, row in zip(times, rows, strict=True)
    ]
