"""What the gateway needs to speak for a model, read from the model's files without loading its weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from csps_engine.model.gguf_reader import GgufReader
from csps_engine.model.tokenizer_gguf import (
    DIGIT_CUT,
    GPT2_CUT,
    byte_level,
    isolating_split,
    tokenizer_from_gguf,
)
from csps_engine.wire.generated import ModelDescriptor


class UnreadableModel(ValueError):
    """The folder or file does not hold a model that can be described; the message says what is missing."""


def build_descriptor(path: Path, name: str, context_length: int, kv_format: str) -> ModelDescriptor:
    """Describes the model at `path`: a GGUF file, a folder with one, or a Hugging Face folder.

    `context_length` counts prompt and output tokens and is the caller's choice; `kv_format` names what makes
    KV pages of two ranks interchangeable. Raises UnreadableModel or UnsupportedTokenizer.
    """
    gguf = _gguf_file(path)
    if gguf is not None:
        return _from_gguf(gguf, name, context_length, kv_format)
    if (path / "config.json").is_file():
        return _from_folder(path, name, context_length, kv_format)
    raise UnreadableModel(f"{path} is no GGUF file and holds neither a *.gguf file nor config.json")


def _gguf_file(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix == ".gguf" else None
    # Of a model split over several files the first one holds the metadata; names sort in that order.
    files = sorted(path.glob("*.gguf"))
    return files[0] if files else None


def _from_gguf(file: Path, name: str, context_length: int, kv_format: str) -> ModelDescriptor:
    fields = GgufReader(file).fields()
    architecture = str(fields["general.architecture"])
    spoken = tokenizer_from_gguf(fields)
    return ModelDescriptor(
        name=name,
        architecture=architecture,
        context_length=context_length,
        vocab_size=int(fields.get(f"{architecture}.vocab_size", len(fields["tokenizer.ggml.tokens"]))),
        bos_token_id=spoken.bos_token_id,
        eos_token_ids=spoken.eos_token_ids,
        add_bos=spoken.add_bos,
        chat_template=spoken.chat_template,
        kv_format=kv_format,
        tokenizer=spoken.tokenizer,
        tokenizer_config={**spoken.tokenizer_config, "model_max_length": context_length},
    )


def _from_folder(folder: Path, name: str, context_length: int, kv_format: str) -> ModelDescriptor:
    if not (folder / "tokenizer.json").is_file():
        raise UnreadableModel(f"{folder} has config.json but no tokenizer.json")
    config = _read_json(folder / "config.json")
    generation = _read_json(folder / "generation_config.json")
    spoken = _read_json(folder / "tokenizer_config.json")
    tokenizer = portable_tokenizer(_read_json(folder / "tokenizer.json"))
    ids = _token_ids(tokenizer)
    bos = _first_id(config.get("bos_token_id"), ids.get(_token_text(spoken.get("bos_token")) or ""))
    eos = _id_list(generation.get("eos_token_id")) or _id_list(config.get("eos_token_id"))
    eos_of_tokenizer = ids.get(_token_text(spoken.get("eos_token")) or "")
    if eos_of_tokenizer is not None:
        eos = list(dict.fromkeys([*eos, eos_of_tokenizer]))
    if not eos:
        raise UnreadableModel(f"{folder}: no eos_token_id in generation_config, config or tokenizer_config")
    bos_text = next((text for text, i in ids.items() if i == bos), None)
    return ModelDescriptor(
        name=name,
        architecture=str(config.get("model_type", "")),
        context_length=context_length,
        vocab_size=int(config["vocab_size"]),
        bos_token_id=bos,
        eos_token_ids=eos,
        add_bos=bos is not None and _adds_bos(spoken, tokenizer, bos_text),
        chat_template=_chat_template(folder, spoken),
        kv_format=kv_format,
        tokenizer=tokenizer,
        tokenizer_config={
            key: value
            for key, value in {
                **spoken,
                "bos_token": bos_text,
                "eos_token": _token_text(spoken.get("eos_token"))
                or next((text for text, i in ids.items() if i == eos[0]), None),
                # The library that reads this defaults to true, Hugging Face's own to what the file says.
                "clean_up_tokenization_spaces": False,
                # Told by added_tokens and chatTemplate already.
                "added_tokens_decoder": None,
                "chat_template": None,
            }.items()
            if value is not None
        },
    )


def portable_tokenizer(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """The same tokenizer in a form that every reader cuts alike.

    Readers in JavaScript take `Digits` for ASCII digits and ByteLevel's own expression for JavaScript's idea of
    white space; written out as expressions both mean what they mean in Hugging Face's library.
    """
    pre = tokenizer.get("pre_tokenizer")
    if pre is None:
        return tokenizer
    steps = pre["pretokenizers"] if pre["type"] == "Sequence" else [pre]
    portable = [after for before in steps for after in _portable_steps(before)]
    return {**tokenizer, "pre_tokenizer": {"type": "Sequence", "pretokenizers": portable}}


def _portable_steps(step: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if step["type"] == "Digits":
        yield isolating_split(DIGIT_CUT if step.get("individual_digits") else DIGIT_CUT + "+")
    elif step["type"] == "ByteLevel" and step.get("use_regex", True) and not step.get("add_prefix_space"):
        yield isolating_split(GPT2_CUT)
        yield byte_level()
    else:
        yield step


def _read_json(file: Path) -> dict[str, Any]:
    """An absent file is an empty one: only config.json and tokenizer.json are required."""
    if not file.is_file():
        return {}
    value = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise UnreadableModel(f"{file} does not hold a JSON object")
    return value


def _token_ids(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    vocab = tokenizer["model"].get("vocab")
    ids = dict(vocab) if isinstance(vocab, dict) else {}
    return ids | {added["content"]: added["id"] for added in tokenizer.get("added_tokens", [])}


def _token_text(token: object) -> str | None:
    """Special tokens are written as a string or as an object with `content`."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _id_list(value: object) -> list[int]:
    if isinstance(value, list):
        return [int(i) for i in value]
    return [int(value)] if isinstance(value, int) else []


def _first_id(*candidates: object) -> int | None:
    return next((i for candidate in candidates for i in _id_list(candidate)), None)


def _adds_bos(spoken: Mapping[str, Any], tokenizer: Mapping[str, Any], bos: str | None) -> bool:
    """What the configuration says, else whether the tokenizer's own template of one sequence starts with BOS."""
    if isinstance(spoken.get("add_bos_token"), bool):
        return bool(spoken["add_bos_token"])
    post = tokenizer.get("post_processor") or {}
    steps = post.get("processors", []) if post.get("type") == "Sequence" else [post]
    singles = [step["single"] for step in steps if step.get("type") == "TemplateProcessing"]
    return any(single and single[0].get("SpecialToken", {}).get("id") == bos for single in singles)


def _chat_template(folder: Path, spoken: Mapping[str, Any]) -> str:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = spoken.get("chat_template", "")
    if isinstance(template, list):
        named = {entry["name"]: entry["template"] for entry in template}
        return str(named.get("default", ""))
    return str(template)
