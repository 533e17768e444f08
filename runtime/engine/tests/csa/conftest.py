from __future__ import annotations

import sys
from pathlib import Path

import torch

# The rank threads and small models of the compute tests serve here too.
sys.path.insert(0, str(Path(__file__).parents[1] / "compute"))

torch.set_num_threads(1)
