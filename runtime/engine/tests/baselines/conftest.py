from __future__ import annotations

import sys
from pathlib import Path

import torch

# The rank threads and small models of the compute tests serve here too.
sys.path[:0] = [str(Path(__file__).parents[1] / "compute"), str(Path(__file__).parents[2])]

torch.set_num_threads(1)
