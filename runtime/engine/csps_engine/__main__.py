"""`python3 -m csps_engine`: one rank of an SP group or a decode pool, configured by its environment.

`python3 -m csps_engine calibrate --help`: find what a model's KV heads may leave out of sparse attention.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys

from csps_engine.config import DEFAULTS, ConfigError, EngineConfig, read_config
from csps_engine.logs import configure_logs
from csps_engine.server.library_pages import release_library_pages
from csps_engine.server.settle import keep_large_blocks_apart
from csps_engine.server.tensor_processes import Following, become_tensor_ranks, own_device
from csps_engine.wire.generated import RankEnvironment

BAD_CONFIGURATION = 2


def usage() -> str:
    lines = ["python3 -m csps_engine [--help]", "", __doc__, "Variables (default):"]
    described = {field.alias or "": field.description or "" for field in RankEnvironment.model_fields.values()}
    for name in dict.fromkeys([*described, *DEFAULTS]):
        default = f" ({DEFAULTS[name] or 'empty'})" if name in DEFAULTS else ""
        lines.append(f"  {name}{default}")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    if arguments in (["--help"], ["-h"]):
        print(usage())
        return 0
    if arguments[:1] == ["calibrate"]:
        from csps_engine.calibrate.command import calibrate  # torch takes seconds: not for --help

        return calibrate(arguments[1:])
    if arguments:
        print(f"csps_engine: unknown argument {arguments[0]!r}; see --help", file=sys.stderr)
        return BAD_CONFIGURATION
    try:
        config = read_config(os.environ)
    except ConfigError as error:
        print(f"csps_engine: {error}", file=sys.stderr)
        return BAD_CONFIGURATION
    return run(config)


def run(config: EngineConfig) -> int:
    """The rank until it ends; returns the exit status."""
    # The collector would look at what each module made over and over while more are imported.
    gc.disable()
    from csps_engine.server.follower import follow
    from csps_engine.server.process import serve

    gc.freeze()
    gc.enable()
    if config.backend == "cpu":
        release_library_pages()
        keep_large_blocks_apart()
    own = become_tensor_ranks(config.tensor_parallel)
    tensor_rank = own.tensor_rank if isinstance(own, Following) else 0
    if config.backend == "cuda" and config.tensor_parallel > 1:
        own_device(tensor_rank)
    configure_logs(config.log_level, config.rank.rank_id + (f"/{tensor_rank}" if tensor_rank else ""))
    return follow(config, own) if isinstance(own, Following) else asyncio.run(serve(config, own.followers))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
