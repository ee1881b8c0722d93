"""Which files are studies; light, because `check` and `plan` ask it of every file."""

import os
from pathlib import Path

from niche_sim.config.reader import read_document
from niche_sim.errors import InputError
from niche_sim.resources import experiments_dir

STUDY_FILE = "study.yaml"


def find_study(text: str) -> Path | None:
    """Return the file of a study that a path, a folder with study.yaml or the name of a shipped one means, else None."""
    path = Path(text)
    shipped = experiments_dir() / text / STUDY_FILE
    for file in (path, path / STUDY_FILE, shipped) if text else ():
        try:
            if file.is_file() and file.suffix in (".yaml", ".yml"):
                data = read_document(os.fspath(file), lenient=True).data
                return file if isinstance(data, dict) and "design" in data else None
        except (InputError, OSError, ValueError):
            return None  # the gate of experiments says what is wrong with it
    return None
