"""The tokenizer inside a GGUF file, in the form of Hugging Face's tokenizer.json.

A GGUF file stores byte-level BPE as three lists (tokens, their kinds, merges) and one word,
`tokenizer.ggml.pre`, that names how text is cut before the merges apply. The words and their cuts are those
of llama.cpp (`llama_vocab::impl::load`), the source of the format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GPT2_CUT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
DIGIT_CUT = r"\p{N}"
LLAMA3_CUT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_CUT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True)
class Cut:
    """How text is cut before the merges: each expression isolates its matches, one after another."""

    expressions: tuple[str, ...]
    ignore_merges: bool = False
    """A cut that is itself a token is taken whole."""
    add_bos: bool = False
    """Whether prompts start with BOS when the file does not say."""
    normalizer: str | None = None


_GPT2 = Cut((GPT2_CUT,))
_DIGITS = Cut((DIGIT_CUT, GPT2_CUT))
_LLAMA3 = Cut((LLAMA3_CUT,), ignore_merges=True, add_bos=True)
_QWEN2 = Cut((QWEN2_CUT,), normalizer="NFC")

CUTS: Mapping[str, Cut] = {
    "gpt-2": _GPT2,
    "olmo": _GPT2,
    "phi-2": _GPT2,
    "smollm": _DIGITS,
    "starcoder": _DIGITS,
    "refact": _DIGITS,
    "command-r": _DIGITS,
    "codeshell": _DIGITS,
    "exaone": _DIGITS,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "llama-bpe": _LLAMA3,
    "falcon3": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
}

CONTROL = 3
USER_DEFINED = 4

END_OF_TURN = frozenset(
    {"<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>", "<end_of_turn>"}
)
"""Control tokens that end a generation under any name the file gives them; the list of llama.cpp."""


class UnsupportedTokenizer(ValueError):
    """The file's tokenizer is of a kind that this engine cannot speak for."""


@dataclass(frozen=True, slots=True)
class GgufTokenizer:
    """What a descriptor needs of a GGUF file's tokenizer."""

    tokenizer: dict[str, Any]
    tokenizer_config: dict[str, Any]
    chat_template: str
    bos_token_id: int | None
    eos_token_ids: list[int]
    add_bos: bool


def tokenizer_from_gguf(fields: Mapping[str, Any]) -> GgufTokenizer:
    """From the metadata of a GGUF file (key → value); raises UnsupportedTokenizer with the reason."""
    model = fields.get("tokenizer.ggml.model")
    if model != "gpt2":
        raise UnsupportedTokenizer(f"tokenizer.ggml.model is {model!r}; byte-level BPE ('gpt2') is supported")
    name = fields.get("tokenizer.ggml.pre")
    cut = CUTS.get(str(name))
    if cut is None:
        raise UnsupportedTokenizer(f"tokenizer.ggml.pre is {name!r}; supported are {', '.join(sorted(CUTS))}")
    tokens: Sequence[str] = fields["tokenizer.ggml.tokens"]
    kinds: Sequence[int] = fields["tokenizer.ggml.token_type"]
    bos = _token_id(fields, "bos")
    add_bos = bool(fields.get("tokenizer.ggml.add_bos_token", cut.add_bos)) and bos is not None
    special = {
        key: tokens[i] for key in ("bos", "eos", "unknown", "padding") if (i := _token_id(fields, key)) is not None
    }
    names = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
    return GgufTokenizer(
        tokenizer=tokenizer_json(tokens, kinds, fields["tokenizer.ggml.merges"], cut),
        tokenizer_config={
            **{names[key]: token for key, token in special.items()},
            "add_bos_token": add_bos,
            "clean_up_tokenization_spaces": False,
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
        chat_template=str(fields.get("tokenizer.chat_template", "")),
        bos_token_id=bos,
        eos_token_ids=_end_tokens(fields, tokens, kinds),
        add_bos=add_bos,
    )


def tokenizer_json(tokens: Sequence[str], kinds: Sequence[int], merges: Sequence[str], cut: Cut) -> dict[str, Any]:
    """Contents of a tokenizer.json for byte-level BPE; `kinds[i]` is the GGUF token type of `tokens[i]`."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _added_token(i, token, special=kinds[i] == CONTROL)
            for i, token in enumerate(tokens)
            if kinds[i] in (CONTROL, USER_DEFINED)
        ],
        "normalizer": None if cut.normalizer is None else {"type": cut.normalizer},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [*(isolating_split(expression) for expression in cut.expressions), byte_level()],
        },
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": cut.ignore_merges,
            "vocab": {token: i for i, token in enumerate(tokens)},
            # A merge is two tokens with one space between; no byte-level token holds a space itself.
            "merges": [merge.split(" ") for merge in merges],
        },
    }


def isolating_split(expression: str) -> dict[str, Any]:
    """Pre-tokenizer that makes every match a piece of its own and keeps what lies between."""
    return {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}


def byte_level() -> dict[str, Any]:
    """Pre-tokenizer that maps bytes to letters and does not cut."""
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def _added_token(token_id: int, content: str, *, special: bool) -> dict[str, Any]:
    return {
        "id": token_id,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": special,
    }


def _token_id(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(f"tokenizer.ggml.{name}_token_id")
    return None if value is None else int(value)


def _end_tokens(fields: Mapping[str, Any], tokens: Sequence[str], kinds: Sequence[int]) -> list[int]:
    """The file's own end tokens first, then control tokens that are known to end a turn."""
    named = [_token_id(fields, name) for name in ("eos", "eot", "eom")]
    known = [i for i, token in enumerate(tokens) if kinds[i] == CONTROL and token in END_OF_TURN]
    ends = list(dict.fromkeys([*(i for i in named if i is not None), *known]))
    if not ends:
        raise UnsupportedTokenizer("no token ends a generation: the file names no eos, eot or eom token")
    return ends
