"""A model's first layers as a file of their own, for loads that would take too long with all of them."""

from __future__ import annotations

import re
from pathlib import Path

from gguf import GGUFReader, GGUFValueType, GGUFWriter

_LAYER = re.compile(r"^blk\.(\d+)\.")


def write_shallow(model_file: Path, target: Path, layers: int) -> None:
    """Write `model_file` without the layers from number `layers` on; tensors stay quantized as they are."""
    reader = GGUFReader(model_file)
    architecture = reader.fields["general.architecture"].contents()
    writer = GGUFWriter(target, architecture)
    counts = f"{architecture}.block_count"
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        kind, *parts = field.types
        value = layers if name == counts else field.contents()
        writer.add_key_value(name, value, kind, parts[0] if kind == GGUFValueType.ARRAY else None)
    for tensor in reader.tensors:
        layer = _LAYER.match(tensor.name)
        if layer is None or int(layer[1]) < layers:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
