"""The descriptor's tokenizer and chat prompt against Hugging Face's own, on the real small model."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import subprocess
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoTokenizer

from csps_engine.model.descriptor import UnreadableModel, build_descriptor, portable_tokenizer
from csps_engine.model.tokenizer_gguf import CUTS, UnsupportedTokenizer, tokenizer_from_gguf, tokenizer_json
from csps_engine.wire.generated import ModelDescriptor

TEXTS = [
    "The quick brown fox jumps over the lazy dog. It didn't, they've said; we'll see!",
    "   leading and trailing   \n\n\ttabs\r\nand a lone \r return  ",
    "def merge(a: list[int], b=None):\n    return a[::-1] + (b or [])  # 0x1F, 1e-9\n",
    "In 2024, 1234567890 people paid $3.50 (or 12,345.678€) at 10:45 — 100%!",
    "Ünïcödé naïve façade, Привет мир, 你好世界, こんにちは, مرحبا, שלום, हिन्दी १२३",
    "emoji 🙂 👩‍👩‍👧‍👦 🏳️‍🌈 and symbols ½ ² ⅷ Ⅳ ™ ∑ ≠",
    "<|im_start|>user\nHi<|im_end|>\n<|endoftext|><repo_name>x<file_sep>y <|im_start| >",
    "zero\u200bwidth \u00a0nbsp \u0085next \ufeffbom \u2028line",
    "a" * 500 + " " * 40 + "b",
    "\x00\x01 control \x7f",
    "Long enough, it's cut into slices; 12 of them, or so. naïve café\n\n  x <|im_end|> y " * 400,
]


def random_texts(count: int) -> list[str]:
    source = random.Random(7)
    planes = [
        range(0x20, 0x7F),
        range(0xA0, 0x600),
        range(0x3040, 0x9FFF),
        range(0x1F300, 0x1FAFF),
        range(9, 14),
    ]
    return [
        "".join(chr(source.choice(source.choice(planes))) for _ in range(source.randint(1, 80))) for _ in range(count)
    ]


@pytest.fixture(scope="module")
def descriptor(model_file: Path) -> ModelDescriptor:
    return build_descriptor(model_file, "smollm2", 8192, "kv-1")


@pytest.fixture(scope="module")
def ours(descriptor: ModelDescriptor) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(descriptor.tokenizer))


@pytest.fixture(scope="module")
def theirs(model_file: Path, kept: Path) -> Any:
    """What transformers makes of the file's tokenizer, for many seconds: kept between runs."""
    made_of = f"{transformers.__version__}:{hashlib.sha256(model_file.read_bytes()).hexdigest()}"
    folder = kept / f"tokenizer-{hashlib.sha256(made_of.encode()).hexdigest()[:24]}"
    if not folder.exists():
        part = folder.with_suffix(f".{os.getpid()}")
        AutoTokenizer.from_pretrained(model_file.parent, gguf_file=model_file.name).save_pretrained(part)
        # Another run may have been faster.
        with suppress(OSError):
            part.rename(folder)
    return AutoTokenizer.from_pretrained(folder)


def where_the_cut_at_digits_shows_nothing(text: str) -> str:
    """Without numbers outside ASCII, and with one space at most before a digit."""
    plain = "".join(c for c in text if c.isascii() or not unicodedata.category(c).startswith("N"))
    return re.sub(r"\s+(?=\d)", " ", plain)


def test_ids_equal_those_of_transformers(ours: Tokenizer, theirs: Any) -> None:
    """But where a cut at digits shows: transformers drops it when it reads GGUF. All texts: next test."""
    for text in map(where_the_cut_at_digits_shows_nothing, TEXTS + random_texts(300)):
        assert ours.encode(text, add_special_tokens=False).ids == theirs.encode(text, add_special_tokens=False), text


def test_ids_equal_those_of_the_published_cut_into_digits_and_bytes(ours: Tokenizer) -> None:
    published = Tokenizer.from_str(ours.to_str())
    published.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    for text in TEXTS + random_texts(300):
        assert ours.encode(text).ids == published.encode(text).ids, text


def test_decoding_gives_the_text_back(ours: Tokenizer) -> None:
    for text in TEXTS + random_texts(100):
        assert ours.decode(ours.encode(text).ids, skip_special_tokens=False) == text


def test_the_chat_prompt_and_the_special_tokens_are_those_of_the_file(descriptor: ModelDescriptor, theirs: Any) -> None:
    assert descriptor.chat_template == theirs.chat_template
    assert descriptor.bos_token_id == theirs.bos_token_id
    assert descriptor.eos_token_ids[0] == theirs.eos_token_id
    assert descriptor.add_bos is False
    assert descriptor.tokenizer_config["eos_token"] == "<|im_end|>"
    assert descriptor.vocab_size == len(theirs)
    assert (descriptor.name, descriptor.context_length, descriptor.kv_format) == ("smollm2", 8192, "kv-1")


CHATS = [
    [{"role": "user", "content": "What is 12 + 30?"}],
    [{"role": "system", "content": "Be brief. \U0001f642"}, {"role": "user", "content": "Hi\n"}],
    [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b <|im_end|>"},
        {"role": "user", "content": "  c  "},
    ],
]


@pytest.fixture(scope="module")
def gateway(descriptor: ModelDescriptor) -> Any:
    """What the gateway makes of the descriptor, in its own process."""
    root = Path(__file__).parents[3]
    question = {"descriptor": descriptor.to_wire(), "texts": TEXTS + random_texts(300), "chats": CHATS}
    program = [str(root / "node_modules/.bin/node"), str(root / "runtime/gateway/testing/speak.ts")]
    done = subprocess.run(program, input=json.dumps(question).encode(), capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_the_gateway_has_the_same_ids_and_gives_the_text_back(ours: Tokenizer, gateway: Any) -> None:
    for text, ids in zip(TEXTS + random_texts(300), gateway["ids"], strict=True):
        assert ids == ours.encode(text, add_special_tokens=False).ids, text
    special = re.compile(r"<\|im_start\|>|<\|im_end\|>|<\|endoftext\|>|<repo_name>|<file_sep>")
    for text, decoded in zip(TEXTS + random_texts(300), gateway["decoded"], strict=True):
        assert decoded == special.sub("", text)


def test_the_gateway_has_the_chat_prompt_of_transformers(theirs: Any, gateway: Any, ours: Tokenizer) -> None:
    for messages, prompt, ids in zip(CHATS, gateway["prompts"], gateway["chatIds"], strict=True):
        assert prompt == theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert ids == ours.encode(prompt, add_special_tokens=False).ids


def test_an_unknown_cut_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedTokenizer, match="'marvin'"):
        tokenizer_from_gguf({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "marvin"})
    with pytest.raises(UnsupportedTokenizer, match="'llama'"):
        tokenizer_from_gguf({"tokenizer.ggml.model": "llama"})


@pytest.mark.parametrize("name", sorted(CUTS))
def test_every_cut_loads_and_loses_no_byte(name: str) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, "<|end|>"]
    kinds = [1] * len(alphabet) + [3]
    tokenizer = Tokenizer.from_str(json.dumps(tokenizer_json(tokens, kinds, [], CUTS[name])))
    for text in ["It's 12345 o'clock\r\n\n  — don't  ", "naïve 你好 ١٢٣ 🙂<|end|>tail"]:
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_a_folder_of_safetensors_is_described_from_its_json_files(tmp_path: Path, theirs: Any) -> None:
    theirs.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "llama", "vocab_size": 49152, "bos_token_id": 1, "eos_token_id": 2})
    )
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 0]}))
    described = build_descriptor(tmp_path, "folder", 4096, "kv-2")
    assert described.architecture == "llama"
    assert described.eos_token_ids == [2, 0]
    assert described.bos_token_id == 1
    assert described.chat_template == theirs.chat_template
    tokenizer = Tokenizer.from_str(json.dumps(described.tokenizer))
    for text in TEXTS:
        assert tokenizer.encode(text, add_special_tokens=False).ids == theirs.encode(text, add_special_tokens=False)


def test_bos_is_added_when_the_configuration_or_the_template_says_so(tmp_path: Path, theirs: Any) -> None:
    theirs.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 49152, "eos_token_id": 2}))
    spoken = json.loads((tmp_path / "tokenizer_config.json").read_text())
    spoken.pop("add_bos_token", None)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(spoken))
    assert build_descriptor(tmp_path, "m", 4096, "k").add_bos is False

    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    bos = {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [],
        "special_tokens": {},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert build_descriptor(tmp_path, "m", 4096, "k").add_bos is True


def test_a_cut_that_adds_a_leading_space_is_left_as_it_is() -> None:
    step = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    assert portable_tokenizer({"pre_tokenizer": step})["pre_tokenizer"]["pretokenizers"] == [step]


def test_a_folder_without_a_model_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UnreadableModel, match=r"neither a \*\.gguf file nor config\.json"):
        build_descriptor(tmp_path, "m", 16, "k")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UnreadableModel, match=r"no tokenizer\.json"):
        build_descriptor(tmp_path, "m", 16, "k")
