"""Which files are sub-models; light, because every command asks it."""

import os
from pathlib import Path

from niche_sim.config.reader import read_document
from niche_sim.errors import InputError
from niche_sim.resources import configs_dir

MODELS = ("fields", "population", "motility", "pk", "kill", "bone_mean_field", "bone_sbml", "aspirate", "imaging")


def list_examples() -> list[str]:
    """Return the names of the shipped sub-model files."""
    return sorted(path.stem for path in (configs_dir() / "submodels").glob("*.yaml"))


def find_submodel(text: str) -> Path | None:
    """Return the file that a name or path means if it holds a sub-model, else None."""
    shipped = configs_dir() / "submodels" / f"{text}.yaml"
    if text in list_examples():
        return shipped
    path = Path(text)
    if not path.is_file() or path.suffix not in (".yaml", ".yml"):
        return None
    try:
        data = read_document(os.fspath(path), lenient=True).data
    except InputError:
        return None  # the gate of experiments says what is wrong with it
    return path if isinstance(data, dict) and "model" in data else None
