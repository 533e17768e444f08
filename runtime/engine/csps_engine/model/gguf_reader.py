"""The gguf library's reader, made quick."""

from __future__ import annotations

from typing import Any

import numpy as np
from gguf import GGUFReader


class QuickReader(GGUFReader):
    """Looks at the mapped file as at a plain array.

    The library cuts some hundred thousand pieces out of a file with a vocabulary, and a cut of numpy's memmap costs
    three times one of an array.
    """

    @property
    def data(self) -> Any:
        return self._plain

    @data.setter
    def data(self, mapped: Any) -> None:
        self._plain = np.asarray(mapped)
