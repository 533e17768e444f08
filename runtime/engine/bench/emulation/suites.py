"""What is measured together: cases that take turns on one testbed, and which of them each is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from csps_engine.model.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line chose."""

    ranks: int
    tokens: int
    config: ModelConfig
    repeats: int


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table. `against` names the row that its ratio is to."""

    name: str
    ranks: int
    against: str
    request: dict[str, Any] = field(default_factory=dict)


def scaling(options: Options) -> list[Case]:
    """Dense prefill at rising degree."""
    degrees = [ranks for ranks in (1, 2, 3, 4, 6, 8) if ranks <= options.ranks]
    return [_prefill(options, f"P={ranks}", "P=1", ranks=ranks) for ranks in degrees]


def ends(options: Options) -> list[Case]:
    """Dense and sparse prefill by all ranks against one.

    One rank alone has the machine's caches and memory to itself, which ranks on machines of their own would all have;
    with every rank at a prompt of its own it shares them as the ranks of a group do here.
    """
    shared = "P=1, on every rank at once"
    return [
        _prefill(options, shared, shared, apart=True),
        _prefill(options, "P=1", shared, ranks=1),
        _prefill(options, f"P={options.ranks}", shared),
        _prefill(options, f"P={options.ranks} sparse", shared, variant="sparse"),
    ]


def prefill(options: Options) -> list[Case]:
    """Every way to prefill by all ranks."""
    return [
        _prefill(options, "ring attention", "ring attention", variant="ring"),
        _prefill(options, "all-gather, no overlap", "ring attention", variant="allGather"),
        _prefill(options, "Star-like (approximate)", "ring attention", variant="star"),
        _prefill(options, "dense, one piece", "ring attention", pieces=1),
        _prefill(options, "dense, pieces by cost model", "ring attention"),
        _prefill(options, "sparse", "ring attention", variant="sparse"),
    ]


def overlap(options: Options) -> list[Case]:
    """The same exchange waited for at once, overlapped whole, and in pieces, in each mode that the heads allow."""
    cases = []
    modes = ["kvGather"] + (["allToAll"] if options.config.heads % options.ranks == 0 else [])
    for mode in modes:
        serial = f"{mode}, no overlap"
        cases.append(_prefill(options, serial, serial, mode=mode, pieces=1, blocking=True))
        for pieces in (1, 2, 3, 6):
            cases.append(_prefill(options, f"{mode}, {pieces} pieces", serial, mode=mode, pieces=pieces))
        cases.append(_prefill(options, f"{mode}, pieces by cost model", serial, mode=mode))
    return cases


def lengths(options: Options) -> list[Case]:
    """Prompts of many lengths: pieces and sparse attention must not cost more than the plain dense path at any."""
    cases = []
    for tokens in (256, 512, 1024, 2048, 4096, 8192):
        if tokens > options.tokens:
            continue
        plain = f"{tokens} dense, one piece"
        cases.append(_prefill(options, plain, plain, tokens=tokens, pieces=1))
        cases.append(_prefill(options, f"{tokens} dense, pieces by cost model", plain, tokens=tokens))
        cases.append(_prefill(options, f"{tokens} sparse allowed", plain, tokens=tokens, variant="sparse"))
    return cases


def decode(options: Options) -> list[Case]:
    """Decode that moves Q against decode that moves KV, one request and one for each rank, at two contexts."""
    cases = []
    for context in (options.tokens // 4, options.tokens):
        for batch in (1, options.ranks):
            moving = f"KV moves, {batch} at {context}"
            for name, variant in ((moving, "kv"), (f"Q moves, {batch} at {context}", "q")):
                request = {"task": "decode", "variant": variant, "context": context, "batch": batch, "steps": 4}
                cases.append(Case(name, options.ranks, moving, request))
    return cases


def cost(options: Options) -> list[Case]:
    """Layers of several lengths and degrees, to hold beside the cost model's prediction."""
    degrees = [ranks for ranks in (1, 2, 3, 4) if ranks <= options.ranks]
    lengths = [tokens for tokens in (1024, 2048, 4096) if tokens <= options.tokens]
    return [
        _prefill(options, f"{tokens} tokens, P={ranks}", f"{tokens} tokens, P=1", ranks=ranks, tokens=tokens)
        for tokens in lengths
        for ranks in degrees
    ]


SUITES: dict[str, Callable[[Options], list[Case]]] = {
    "scaling": scaling,
    "ends": ends,
    "prefill": prefill,
    "overlap": overlap,
    "lengths": lengths,
    "decode": decode,
    "cost": cost,
}


def _prefill(options: Options, name: str, against: str, ranks: int = 0, **request: Any) -> Case:
    whole = {"task": "prefill", "variant": "dense", "tokens": options.tokens, **request}
    return Case(name, ranks or options.ranks, against, whole)
