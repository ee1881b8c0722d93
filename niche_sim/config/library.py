"""Where named files are, and their reading: experiments, parameter sets, drugs, scenes, patients, regimens."""

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from niche_sim.config.problems import suggest
from niche_sim.config.reader import Document, read_document
from niche_sim.errors import InputError
from niche_sim.resources import configs_dir, experiments_dir
from niche_sim.units import quote

FOLDERS = {
    "parameters": "parameter set",
    "drugs": "drug",
    "scenes": "scene",
    "patients": "patient",
    "regimens": "regimen",
}
"""Folders of `configs` and what each of their files is."""

_OWN_FOLDER = {"experiments": "experiment.yaml", "studies": "study.yaml"}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_SUFFIXES = (".yaml", ".yml")


def list_available() -> dict[str, list[str]]:
    """Return the names of the shipped files by kind, experiments first."""
    names = {"experiments": list_experiments(), "studies": list_studies()}
    for folder in ("scenes", "patients", "regimens", "drugs", "parameters"):
        names[folder] = list_names(folder)
    return names


def list_names(folder: str) -> list[str]:
    """Return the names of the files of one folder of `configs`."""
    return sorted(path.stem for path in (configs_dir() / folder).glob("*.yaml"))


def list_experiments() -> list[str]:
    """Return the names of the shipped experiments."""
    return sorted(path.parent.name for path in experiments_dir().glob("*/experiment.yaml"))


def list_studies() -> list[str]:
    """Return the names of the shipped parameter studies."""
    return sorted(path.parent.name for path in experiments_dir().glob(f"*/{_OWN_FOLDER['studies']}"))


def read_title(kind: str, name: str) -> str:
    """Return the title of a shipped file, else its first comment; `kind` as in `list_available`."""
    own = _OWN_FOLDER.get(kind)
    path = experiments_dir() / name / own if own else configs_dir() / kind / f"{name}.yaml"
    lines = path.read_text(encoding="utf-8").splitlines()
    titles = [line.removeprefix("title:").strip() for line in lines if line.startswith("title:")]
    comments = [line.lstrip("# ") for line in lines if line.startswith("#")]
    return (titles + comments + [""])[0]


def is_path(text: str) -> bool:
    """Whether a reference is a path rather than a name."""
    return text.endswith(_SUFFIXES) or "/" in text or os.sep in text


def find_experiment(text: str) -> Path:
    """Return the file of an experiment: a path, a folder with experiment.yaml, a name or its beginning.

    Raises
    ------
    InputError
        Nothing, or more than one experiment, has this name.
    """
    path = Path(text)
    if is_path(text) or _exists(path):
        inside = [path / own for own in _OWN_FOLDER.values() if _exists(path / own)]
        return inside[0] if inside else path
    names = list_experiments()
    if text in names:
        return experiments_dir() / text / "experiment.yaml"
    beginning = [name for name in names if text and name.startswith(text)]
    if len(beginning) > 1:
        raise InputError(f"{quote(text)} is the beginning of several experiments: {', '.join(beginning)}")
    if text in list_studies():
        raise InputError(f"{quote(text)} is a study: `niche-sim study {text}` runs it, `niche-sim plan {text}` plans it")
    if not beginning:
        raise InputError(f"no experiment or file is called {quote(text)}{suggest(text, names)}")
    return experiments_dir() / beginning[0] / "experiment.yaml"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def find_file(folder: str, text: str, beside: Path) -> Path:
    """Return the file that a reference means: a shipped name, or a path from the folder `beside`.

    Raises
    ------
    InputError
        There is no such shipped file, or the path does not end in .yaml.
    """
    kind = FOLDERS[folder]
    if is_path(text):
        if not text.endswith(_SUFFIXES):
            raise InputError(f"{quote(text)}: the file of a {kind} ends in .yaml")
        return beside / text
    names = list_names(folder)
    if not _NAME.fullmatch(text) or text not in names:
        raise InputError(f"unknown {kind} {quote(text)}{suggest(text, names)}")
    return configs_dir() / folder / f"{text}.yaml"


def show_path(path: Path) -> str:
    """Return a path from the working folder where it lies in it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def read_named(file: Path) -> Document:
    """Return a file that something names; read again only if it changed, and never to be changed itself."""
    try:
        state = file.stat()
    except (OSError, ValueError):
        return read_document(file, show_path(file), lenient=True)  # which says what is wrong
    return _read_version(file, show_path(file), (state.st_ino, state.st_size, state.st_mtime_ns))


@lru_cache(maxsize=32)
def _read_version(file: Path, shown: str, version: tuple[int, ...]) -> Document:
    return read_document(file, shown, lenient=True)


def recognise(data: Any, path: Path) -> str:
    """Return the kind of a file by its keys, else by its folder: experiment or a folder of `configs`."""
    if isinstance(data, dict):
        if "arms" in data or "time" in data:
            return "experiment"
        by_key = (
            ("extends", "parameters"),
            ("class", "drugs"),
            ("courses", "regimens"),
            ("oestradiol", "patients"),
            ("activation_frequency", "patients"),
            ("kind", "scenes"),
        )
        for key, folder in by_key:
            if key in data:
                return folder
    folder = path.resolve().parent.name
    if folder in FOLDERS:
        return folder
    if isinstance(data, list):
        return "regimens"
    return "parameters" if isinstance(data, dict) and _has_groups(data) else "experiment"


def _has_groups(data: dict[str, Any]) -> bool:
    inner = [leaf for group in data.values() if isinstance(group, dict) for leaf in group.values()]
    return any(isinstance(leaf, dict) and ("value" in leaf or "times" in leaf) for leaf in inner)
