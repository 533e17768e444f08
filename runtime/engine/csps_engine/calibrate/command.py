"""`python3 -m csps_engine calibrate`: write the profile of a model's KV heads for sparse attention."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from csps_engine.calibrate.allot import Floor, Unreachable, allot
from csps_engine.calibrate.observe import observe
from csps_engine.csa.profile import HeadProfile, write_profile
from csps_engine.csa.settings import CsaSettings
from csps_engine.model.config import ModelError
from csps_engine.model.descriptor import UnreadableModel, build_descriptor
from csps_engine.model.load import load_model

FAILED = 2


class Unusable(ValueError):
    """The text cannot be calibrated on; the message says why."""


def calibrate(arguments: Sequence[str]) -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m csps_engine calibrate", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="GGUF file or folder of the model")
    parser.add_argument("--out", type=Path, required=True, help="where the profile goes")
    parser.add_argument("--text", type=Path, nargs="+", required=True, help="UTF-8 text of the kind to be served")
    parser.add_argument("--tokens", type=int, default=4096, help="length of a calibration prompt")
    parser.add_argument("--ranks", type=int, default=4, help="ranks that will share a prompt")
    parser.add_argument("--poor", type=float, default=0.008, help="share of queries that may cover less than 0.9")
    parser.add_argument("--missing", type=float, default=0.016, help="mean share of attention mass that may be lost")
    asked = parser.parse_args(arguments)
    try:
        return _calibrate(asked)
    except (Unusable, Unreachable, ModelError, UnreadableModel, ValueError, OSError) as error:
        sys.stderr.write(f"calibrate: {error}\n")
        return FAILED


def _calibrate(asked: argparse.Namespace) -> int:
    settings = CsaSettings()
    prompts = _prompts(asked)
    model = load_model(asked.model)
    curves = observe(model, prompts, asked.ranks, settings, lambda line: print_line(f"calibrate: {line}"))
    found = allot(curves, Floor(asked.poor, asked.missing))
    expected = {"keysFetched": found.fetched, "poor": found.poor, "missing": found.missing}
    rounded = {name: round(value, 4) for name, value in expected.items()}
    tolerances = tuple(tuple(round(value, 4) for value in row) for row in found.tolerances.tolist())
    write_profile(asked.out, HeadProfile(settings.block_tokens, tolerances, rounded), model.config)
    streaming = sum(value == 1 for row in tolerances for value in row)
    heads = sum(len(row) for row in tolerances)
    print_line(f"calibrate: {asked.out}: {streaming} of {heads} KV heads stream; expected {rounded}")
    return 0


def print_line(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _prompts(asked: argparse.Namespace) -> list[list[int]]:
    if importlib.util.find_spec("tokenizers") is None:
        raise Unusable("the package `tokenizers` is needed to read text; install it beside the engine")
    described = build_descriptor(asked.model, "model", 1, "kv")
    tokenizer = importlib.import_module("tokenizers").Tokenizer.from_str(json.dumps(described.tokenizer))
    prompts = []
    for path in asked.text:
        ids = tokenizer.encode(path.read_text("utf-8"), add_special_tokens=False).ids
        if len(ids) < asked.tokens:
            raise Unusable(f"{path} holds {len(ids)} tokens; a calibration prompt takes {asked.tokens}")
        prompts.append(ids[: asked.tokens])
    return prompts
