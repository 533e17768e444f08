"""Keys of KV pages: the key of page i stands for all tokens up to the page's end and for the form of the KV.

    key(-1) = kv_format as UTF-8;   key(i) = first 16 bytes of SHA-256(key(i-1), tokens of page i as uint32 LE)

With a salt the chain starts at kv_format and, after it, SHA-256(salt as UTF-8): no key is one of another salt's.
Equal keys mean equal KV, so that prompts that begin alike may share pages. runtime/wire/pageKeys.ts computes the same.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

from csps_engine.core.plan import PAGE_TOKENS

KEY_BYTES = 16


def page_keys(
    kv_format: str, token_ids: Sequence[int], page_tokens: int = PAGE_TOKENS, cache_salt: str | None = None
) -> list[str]:
    """Keys of the full pages of a prompt, in order, as hexadecimal digits; a salt parts it from prompts without it."""
    keys: list[str] = []
    before = kv_format.encode()
    if cache_salt is not None:
        before += hashlib.sha256(cache_salt.encode()).digest()
    for start in range(0, len(token_ids) - page_tokens + 1, page_tokens):
        page = struct.pack(f"<{page_tokens}I", *token_ids[start : start + page_tokens])
        before = hashlib.sha256(before + page).digest()[:KEY_BYTES]
        keys.append(before.hex())
    return keys
