"""What every sub-model shares: the keys that all their files have, and the shape of what they return."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import PrivateAttr

from niche_sim.config.quantity import whole
from niche_sim.config.schema import MOST_SEED, Name, Note, Strict, Title

Tables = dict[str, pd.DataFrame]
Progress = Callable[[float], None]
Mistakes = list[tuple[tuple[str | int, ...], str]]


class SubModel(Strict):
    """Keys of every sub-model's file; `model` chooses the sub-model."""

    model: str
    name: Name
    title: Title = ""
    note: Note = ""
    seed: Annotated[int, whole(0, MOST_SEED)] = 0
    _beside: Path = PrivateAttr(default=Path())

    @property
    def beside(self) -> Path:
        """The folder of the file, where other files that it names are."""
        return self._beside

    def put_beside(self, folder: Path) -> None:
        """Say in which folder the file is."""
        self._beside = folder
