"""What the operator sets in the environment of every rank."""

from __future__ import annotations

from pathlib import Path


def rank_environment(folder: Path, **others: str) -> dict[str, str]:
    """Of a decode rank, its token and model in `folder`, with `others` in place of what is usual or besides it."""
    token = folder / "token"
    token.write_text("secret\n")
    usual = {
        "CSPS_NAMESPACE": "ns",
        "CSPS_DEPLOYMENT": "chat",
        "CSPS_GROUP": "chat-decode",
        "CSPS_ROLE": "decode",
        "CSPS_RANK_ID": "chat-decode-0",
        "CSPS_INCARNATION": "uid",
        "CSPS_ADDRESS": "10.0.0.7",
        "CSPS_CONTROL_TOKEN_FILE": str(token),
        "CSPS_MODEL_PATH": str(folder),
        "CSPS_MODEL_NAME": "m",
        "CSPS_CONTEXT_LENGTH": "8192",
    }
    return {**usual, **others}
