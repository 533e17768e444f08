"""A rank that serves by itself, Sarathi-style; requests come as lines while it computes, tokens go as lines.

python -m bench.mixed.chunked_rank SAVED_MODEL MODEL BUDGET KV_TOKENS RANK STORE_HOST
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch

from bench.baselines.chunked import ChunkedServer, Request
from bench.emulation.rank import spin
from csps_engine.kv.pool import KvPool
from csps_engine.model.llama import Llama
from csps_engine.model.load import load_model
from csps_engine.model.weights import WeightForm


def _read(arrived: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        arrived.put(json.loads(line))


def say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def serve(server: ChunkedServer, arrived: queue.Queue[dict[str, Any]]) -> None:
    """Until the process is ended. `time` of an answer is of this machine's monotonic clock."""
    while True:
        while not server.busy or not arrived.empty():
            message = arrived.get()
            if message["task"] == "spin":
                say({"share": spin()})
            else:
                server.add(Request(message["id"], tuple(message["prompt"]), message["output"]))
        grown = server.step()
        say({"time": time.monotonic(), "grown": [request.request_id for request in grown]})


def main() -> None:
    saved, model_file, budget, kv_tokens, _, _ = sys.argv[1:]
    torch.set_num_threads(1)
    model: Llama = torch.load(saved, mmap=True, weights_only=False)
    few = load_model(Path(model_file), WeightForm(packed=True))
    shape = model.config.kv_shape("float32")
    server = ChunkedServer(model, KvPool(shape, int(kv_tokens) // shape.page_tokens), int(budget), few)
    # Brings the files' pages in.
    server.add(Request("warm", tuple(range(1, 65)), 3))
    while server.busy:
        server.step()
    say({"ready": True})
    arrived: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read, args=(arrived,), daemon=True).start()
    serve(server, arrived)


if __name__ == "__main__":
    main()
