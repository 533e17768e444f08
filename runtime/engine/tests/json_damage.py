"""Damaged forms of a valid JSON message, for tests that send what nobody should."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

ODD_NUMBERS = ["-1", "0", "1.5", "-0.0", "1e999", "-1e999", "NaN", str(2**31), str(2**53), str(2**64), "9" * 5000]
ODD_VALUES = [*ODD_NUMBERS, "null", "true", "[]", "{}", '""', '"\\ud800"', '"\\u0000"', '"7"', "[" * 5000 + "]" * 5000]
"""As JSON text: some can't be written by json.dumps."""
_MARK = "\u0001hole\u0001"


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Places of all values inside."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(inner for key, item in items for inner in _paths(item, (*path, key)))]


def _with(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _with(value[path[0]], path[1:], new)
    return copy


def _without(value: Any, path: tuple[Any, ...]) -> Any:
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = _without(value[path[0]], path[1:])
    return copy


@st.composite
def damaged(draw: st.DrawFn, message: dict[str, Any]) -> bytes:
    """`message` with a value replaced or gone, or its text cut short, or noise instead."""
    path = draw(st.sampled_from(_paths(message)))
    kind = draw(st.sampled_from(["replaced", "replaced", "replaced", "gone", "cut", "noise"]))
    if kind == "noise":
        return draw(st.binary(max_size=64))
    if kind == "gone" and path:
        return json.dumps(_without(message, path)).encode()
    text = json.dumps(_with(message, path, _MARK))
    whole = text.replace(json.dumps(_MARK), draw(st.sampled_from(ODD_VALUES))).encode()
    return whole[: draw(st.integers(0, len(whole) - 1))] if kind == "cut" else whole
