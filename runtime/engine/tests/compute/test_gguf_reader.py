"""The reader of GGUF files against the library's, and on files that are damaged."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter
from gguf.constants import GGMLQuantizationType
from gguf.quants import dequantize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csps_engine.model.config import ModelError
from csps_engine.model.gguf_blocks import take_apart
from csps_engine.model.gguf_file import GgufFile
from csps_engine.model.gguf_reader import GgufError, GgufReader

BLOCK_BYTES = {
    GGMLQuantizationType.Q4_0: 18,
    GGMLQuantizationType.Q4_1: 20,
    GGMLQuantizationType.Q5_0: 22,
    GGMLQuantizationType.Q5_1: 24,
    GGMLQuantizationType.Q8_0: 34,
    GGMLQuantizationType.Q4_K: 144,
    GGMLQuantizationType.Q6_K: 210,
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A file with a value of every kind and a few tensors, in a few hundred bytes."""
    path = tmp_path / "small.gguf"
    writer = GGUFWriter(path, "llama")
    for kind in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"):
        getattr(writer, f"add_{kind}")(f"of.{kind}", 7)
    writer.add_float32("of.float32", 0.5)
    writer.add_float64("of.float64", 0.25)
    writer.add_bool("of.bool", True)
    writer.add_string("of.string", "naïve")
    writer.add_array("of.strings", ["a", "", "Ġb"])
    writer.add_array("of.numbers", [-1, 0, 70000])
    writer.add_tensor("vector", np.arange(3, dtype=np.float32))
    writer.add_tensor("halves", np.arange(6, dtype=np.float16).reshape(2, 3))
    writer.add_tensor("blocks", np.zeros((4, 34), dtype=np.uint8), raw_dtype=GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def assert_reads_as_the_library(path: Path) -> None:
    ours, theirs = GgufReader(path), GGUFReader(path)
    # The library counts its own numbers among the metadata.
    fields = {key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")}
    assert ours.fields() == fields
    assert list(ours.tensors) == [tensor.name for tensor in theirs.tensors]
    for tensor in theirs.tensors:
        read = ours.tensors[tensor.name]
        assert (read.kind, read.shape) == (tensor.tensor_type, tuple(reversed(tensor.shape.tolist())))
        assert read.data.dtype == tensor.data.dtype
        np.testing.assert_array_equal(read.data, tensor.data)


def test_values_of_every_kind_are_those_that_the_library_reads(small: Path) -> None:
    assert_reads_as_the_library(small)


def test_the_test_model_is_what_the_library_reads(model_file: Path) -> None:
    assert_reads_as_the_library(model_file)


def test_an_absent_key_has_no_value(small: Path) -> None:
    assert GgufReader(small).field("of.nothing") is None


@pytest.mark.parametrize("kind", list(BLOCK_BYTES), ids=lambda kind: kind.name)
def test_blocks_expand_to_the_bits_that_the_library_makes_of_them(kind: GGMLQuantizationType) -> None:
    source = np.random.default_rng(3)
    rows = source.integers(0, 256, (8, 4 * BLOCK_BYTES[kind]), dtype=np.uint8)
    with np.errstate(invalid="ignore"):  # random scales are not all numbers
        groups = take_apart(rows, kind)
        assert groups is not None
        np.testing.assert_array_equal(groups.expanded().numpy(), dequantize(rows, kind))


@pytest.mark.parametrize(
    ("place", "change", "complaint"),
    [
        (0, b"GGUX", "does not begin with GGUF"),
        (4, (9).to_bytes(4, "little"), "version 9; known are 2, 3"),
        (4, (3).to_bytes(4, "big"), "version 50331648"),
        (16, (2**60).to_bytes(8, "little"), "ends within its description"),
        (24, (2**63).to_bytes(8, "little"), "ends within its description"),
    ],
)
def test_a_wrong_header_is_refused_by_name(small: Path, place: int, change: bytes, complaint: str) -> None:
    content = bytearray(small.read_bytes())
    content[place : place + len(change)] = change
    small.write_bytes(content)
    with pytest.raises(GgufError, match=complaint):
        GgufReader(small)


def test_what_is_there_twice_is_refused(small: Path) -> None:
    content = small.read_bytes()
    small.write_bytes(content.replace(b"of.uint8", b"of.int16", 1).replace(b"of.int16\x03", b"of.int16\x00", 1))
    with pytest.raises(GgufError, match=r"of\.int16 is there twice"):
        GgufReader(small)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").touch()
    with pytest.raises(ModelError, match=r"empty.gguf is not a whole GGUF file: it is empty"):
        GgufFile(tmp_path / "empty.gguf")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(small: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(small.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    with suppress(ValueError):
        GgufReader(damaged).fields()
