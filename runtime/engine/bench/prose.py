"""Text as token ids, for prompts that are like what people send."""

from __future__ import annotations

import json
from pathlib import Path
from pydoc_data.topics import topics

from tokenizers import Tokenizer

from csps_engine.model.descriptor import build_descriptor


def prose(model_file: Path, tokens: int) -> list[int]:
    """Token ids of the Python language's manual, which every interpreter has."""
    described = build_descriptor(model_file, "model", 8192, "kv")
    tokenizer = Tokenizer.from_str(json.dumps(described.tokenizer))
    ids: list[int] = tokenizer.encode(" ".join(topics.values())[: 8 * tokens], add_special_tokens=False).ids
    return ids[:tokens]
