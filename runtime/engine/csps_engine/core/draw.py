"""Random numbers that depend on nothing but a key."""

from __future__ import annotations

import hashlib

_MANTISSA_BITS = 53


def unit_random(seed: int, position: int) -> float:
    """A uniform number in [0, 1) for (seed, position): the same on every machine, rank and retry."""
    digest = hashlib.blake2b(f"{seed}:{position}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> (64 - _MANTISSA_BITS)) / (1 << _MANTISSA_BITS)
