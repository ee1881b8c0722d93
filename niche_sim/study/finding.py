"""Which files are studies; light, because `check` and `plan` ask it of every file."""

import os
from pathlib import Path

from niche_sim.config.library import is_path, list_experiments, list_studies
from niche_sim.config.problems import suggest
from niche_sim.config.reader import read_document
from niche_sim.errors import InputError
from niche_sim.resources import experiments_dir
from niche_sim.units import quote

STUDY_FILE = "study.yaml"


def find_study(text: str) -> Path | None:
    """Return the file of a study that a path, a folder with study.yaml or the name of a shipped one means, else None.

    The beginning of a name will do, as it does for experiments, where it is of no experiment or other study.
    """
    path = Path(text)
    begins = [name for name in (*list_studies(), *list_experiments()) if text and name.startswith(text)]
    name = begins[0] if len(begins) == 1 and begins[0] in list_studies() else text
    for file in (path, path / STUDY_FILE, experiments_dir() / name / STUDY_FILE) if text else ():
        try:
            if file.is_file() and file.suffix in (".yaml", ".yml"):
                data = read_document(os.fspath(file), lenient=True).data
                return file if isinstance(data, dict) and "design" in data else None
        except (InputError, OSError, ValueError):
            return None  # the gate of experiments says what is wrong with it
    return None


def locate_study(text: str) -> Path:
    """Return the file of a study: that of `find_study`, else the path as it is, for the gate to say what is wrong.

    Raises
    ------
    InputError
        It is no path, and no study has this name.
    """
    found, path = find_study(text), Path(text)
    if found is not None:
        return found
    if is_path(text) or os.path.lexists(path):
        return path / STUDY_FILE if path.is_dir() else path
    if text in list_experiments():
        raise InputError(f"{quote(text)} is an experiment, not a study: `niche-sim run {text}` runs it")
    raise InputError(f"no study or file is called {quote(text)}{suggest(text, list_studies())}")
