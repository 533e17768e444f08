"""What a start takes in memory and gives back. Each in a process of its own: what is let go is the whole process's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import csps_engine
from csps_engine.server.library_pages import Mapping, unchanged_mappings

SMAPS = """\
1000-3000 r-xp 00000000 08:01 7   /usr/lib/libwhole.so.2
Rss:                   8 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
3000-4000 r--p 00002000 08:01 7   /usr/lib/libwhole.so.2
Rss:                   4 kB
Anonymous:             4 kB
4000-5000 rw-p 00003000 08:01 7   /usr/lib/libwhole.so.2
Rss:                   4 kB
Anonymous:             0 kB
5000-6000 r--p 00000000 08:01 8   /usr/lib/python3/x.cpython-313-x86_64-linux-gnu.so
Rss:                   4 kB
Anonymous:             0 kB
6000-7000 r-xp 00000000 08:01 9   /usr/lib/libabsent.so
Rss:                   0 kB
Anonymous:             0 kB
7000-8000 r-xp 00000000 08:01 10  /usr/lib/libgone.so (deleted)
Rss:                   4 kB
Anonymous:             0 kB
8000-9000 r--p 00000000 08:01 11  /model/weights.gguf
Rss:                   4 kB
Anonymous:             0 kB
9000-a000 r--p 00000000 00:00 0
Rss:                   4 kB
Anonymous:             0 kB
"""

RELEASE = """
import torch
from csps_engine.server.library_pages import release_library_pages

def file_kb():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssFile:"))

torch.manual_seed(0)
x, w = torch.randn(64, 96), torch.randn(32, 96)
before, held = torch.nn.functional.linear(x, w), file_kb()
release_library_pages()
left = file_kb()
print(torch.equal(torch.nn.functional.linear(x, w), before), left < held / 2)
"""

SETTLE = """
import torch
from csps_engine.server.settle import settle

def anonymous_kb():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon:"))

kept, between = [], []
for _ in range(1000):
    between.append(torch.ones(16384))  # 64 KiB, which the C library takes from its heap
    kept.append(torch.ones(64))
between.clear()
held = anonymous_kb()
settle()
print(anonymous_kb() < held - 32768, sum(float(part.sum()) for part in kept))
"""

APART = """
import torch
from csps_engine.server.settle import LARGE_BLOCK_BYTES, keep_large_blocks_apart

def anonymous_kb():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon:"))

keep_large_blocks_apart()
# What the C library learns from: freed once, it would take the next ones from its heap.
for _ in range(3):
    torch.ones(LARGE_BLOCK_BYTES // 2)
began = anonymous_kb()
large, small = [], []
for _ in range(8):
    large.append(torch.ones(LARGE_BLOCK_BYTES // 4 + 1))
    small.append(torch.ones(1024))
held = anonymous_kb()
large.clear()
print(held > began + 60000, anonymous_kb() < began + 8192)
"""


def said_by(program: str) -> list[str]:
    how = {"cwd": Path(csps_engine.__file__).parents[1], "capture_output": True, "text": True, "check": True}
    return subprocess.run([sys.executable, "-c", program], **how).stdout.split()


def test_only_parts_of_libraries_that_are_as_in_their_files_are_let_go() -> None:
    assert list(unchanged_mappings(SMAPS.splitlines())) == [Mapping(0x1000, 0x2000), Mapping(0x5000, 0x1000)]


def test_a_process_computes_the_same_without_the_library_pages_of_its_start() -> None:
    assert said_by(RELEASE) == ["True", "True"]


def test_holes_in_the_heap_are_given_back_and_what_lies_between_them_stays() -> None:
    assert said_by(SETTLE) == ["True", "64000.0"]


def test_large_blocks_are_given_back_as_soon_as_they_are_freed() -> None:
    assert said_by(APART) == ["True", "True"]
