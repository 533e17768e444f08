"""A hash of everything that makes the KV of two ranks interchangeable."""

from __future__ import annotations

import hashlib
from pathlib import Path

from csps_engine.core.kvshape import KvShape

SAMPLE_BYTES = 64 * 1024


def kv_format(shape: KvShape, model_path: Path, tensor_degree: int = 1) -> str:
    """Form of the pages, and the model's weights: name, size and both ends of each file stand for its content.

    `tensor_degree`: processes that a rank's KV is cut over, written at the end where there are several.
    """
    digest = hashlib.sha256(shape.format().encode())
    for file in _weight_files(model_path):
        size = file.stat().st_size
        digest.update(f"\n{file.name} {size}\n".encode())
        with file.open("rb") as content:
            digest.update(content.read(SAMPLE_BYTES))
            content.seek(max(0, size - SAMPLE_BYTES))
            digest.update(content.read(SAMPLE_BYTES))
    return digest.hexdigest()[:32] + (f"-tp{tensor_degree}" if tensor_degree > 1 else "")


def _weight_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(f for f in path.iterdir() if f.suffix in (".gguf", ".safetensors") or f.name == "config.json")
