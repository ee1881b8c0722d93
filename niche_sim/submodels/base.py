"""What every sub-model shares: the keys that all their files have, and the shape of what they return."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import Field

from niche_sim.config.quantity import whole
from niche_sim.config.schema import MOST_SEED, Name, Note, Strict, Title

Tables = dict[str, pd.DataFrame]
Progress = Callable[[float], None]
Mistakes = list[tuple[tuple[str | int, ...], str]]


class SubModel(Strict):
    """Keys of every sub-model's file; `model` chooses the sub-model, `beside` is the folder of the file."""

    model: str
    name: Name
    title: Title = ""
    note: Note = ""
    seed: Annotated[int, whole(0, MOST_SEED)] = 0
    beside: Path = Field(default=Path(), exclude=True, init=False)
