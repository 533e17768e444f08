"""The Lua verbs of runtime/state, called by name with named arguments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from typing import Any

VERBS = Path(__file__).parents[3] / "state" / "verbs"
"""Beside the engine in the source tree and in images."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One script and its descriptor."""

    name: str
    lua: str
    keys: tuple[str, ...]
    args: tuple[tuple[str, str], ...]
    """(name, type) in the script's order."""

    @property
    def sha1(self) -> str:
        """By which Redis knows a script that it has run before."""
        return sha1(self.lua.encode(), usedforsecurity=False).hexdigest()

    def key_names(self, deployment: str) -> list[str]:
        """`deployment` is <namespace>/<name>: the hash tag that keeps all keys in one slot."""
        return [f"csps:{{{deployment}}}:{key}" for key in self.keys]

    def arguments(self, values: Mapping[str, Any]) -> list[str]:
        """In the script's order; ValueError when one is missing or unknown."""
        if values.keys() != {name for name, _ in self.args}:
            raise ValueError(f"{self.name} takes {[name for name, _ in self.args]}, not {sorted(values)}")
        return [
            json.dumps(values[name], separators=(",", ":")) if kind == "json" else str(values[name])
            for name, kind in self.args
        ]


def read_verb(name: str, folder: Path = VERBS) -> Verb:
    descriptor = json.loads((folder / f"{name}.json").read_text("utf-8"))
    return Verb(
        name=name,
        lua=(folder / f"{name}.lua").read_text("utf-8"),
        keys=tuple(descriptor["keys"]),
        args=tuple((arg["name"], arg["type"]) for arg in descriptor["args"]),
    )
