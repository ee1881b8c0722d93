"""Puts the files that an experiment names, and the values of `--set`, into its document."""

from pathlib import Path as FilePath
from typing import Any

from niche_sim.config.extension import EXTENDS, extend
from niche_sim.config.library import FOLDERS, find_file, list_names, read_named
from niche_sim.config.problems import ConfigError, Path, Place, Problem, suggest, write_path
from niche_sim.config.reader import MOST_DEPTH, Document, parse
from niche_sim.config.report import Report
from niche_sim.config.schema import ExperimentModel, RegimenModel, list_keys
from niche_sim.errors import InputError
from niche_sim.parameters import ParameterSet
from niche_sim.units import quote

_TOP = {"parameters": "parameters", "scene": "scenes", "patient": "patients"}
_MOST_KEYS = 8


def reference_folder(path: Path) -> str | None:
    """Return the folder of `configs` that a path of an experiment may name a file of."""
    if len(path) == 1:
        return _TOP.get(str(path[0]))
    if len(path) == 2 and path[0] == "drugs":
        return "drugs"
    return "regimens" if len(path) == 3 and path[0] == "arms" and path[2] == "regimen" else None


def expand(report: Report, path: Path) -> None:
    """Replace the name or path of a file by its content; mistakes are noted."""
    document, folder = report.document, reference_folder(path)
    name = document.get(path)
    if folder is None or path in report.broken:
        return
    if not isinstance(name, str):
        if not isinstance(name, (dict, list)):
            report.fail(path, "type", f"expected the name of a {FOLDERS[folder]} or its content, not {quote(name)}")
        elif folder == "regimens" and isinstance(name, dict):
            _unwrap_written(report, path, name)
        elif folder == "parameters":
            extend(report, path)
        return
    try:
        file = find_file(folder, name, FilePath(document.place(path).file).parent)
    except InputError as error:
        report.fail(path, "name", str(error))
        return
    try:
        content = read_named(file)
    except ConfigError as error:
        if error.problems[0].code == "file":
            report.fail(path, "file", f"{quote(name)} {error.problems[0].message}")
        else:
            report.adopt(path, error)
        return
    report.problems += [problem for problem in content.problems if problem not in report.problems]
    if folder == "regimens" and isinstance(content.data, dict):
        _unwrap_regimen(report, path, content)
    else:
        document.graft(path, content)
    if folder == "parameters":
        extend(report, path)


def _unwrap_regimen(report: Report, path: Path, content: Document) -> None:
    """Put the courses of a regimen file at a path; its name, title and note stay behind."""
    inner = Report(content)
    inner.check_keys((), list_keys(RegimenModel), ["courses"])
    if inner.problems:
        report.adopt(path, ConfigError(inner.problems))
    else:
        report.document.graft(path, content, ("courses",))


def _unwrap_written(report: Report, path: Path, regimen: dict[str, Any]) -> None:
    """Do the same with a regimen that is written in place as its file would have it."""
    if report.check_keys(path, list_keys(RegimenModel), ["courses"]) and "courses" in regimen:
        report.document.graft(path, report.document.copy(), (*path, "courses"))


def expand_all(report: Report) -> None:
    """Replace every name of a file in an experiment by its content."""
    data = report.document.data
    paths: list[Path] = [(key,) for key in _TOP if key in data]
    arms = data.get("arms")
    if isinstance(arms, dict):
        paths += [("arms", name, "regimen") for name, arm in arms.items() if isinstance(arm, dict) and arm.get("regimen")]
    drugs = data.get("drugs")
    if isinstance(drugs, dict):
        paths += [("drugs", name) for name in drugs]
    for path in paths:
        expand(report, path)


# ---------------------------------------------------------------- --set


def apply_settings(report: Report, settings: list[str], parameters: ParameterSet) -> None:
    """Put each `name=value` into an experiment: a key of it, or a parameter as an override.

    Parameters
    ----------
    settings : list of str
    parameters : ParameterSet
        Names that are parameters.
    """
    given: set[str] = set()
    for setting in settings:
        name, equals, value = (part.strip() for part in setting.partition("="))
        place = Place(f"--set {name}" if name.isprintable() else "--set")
        if not (equals and name and value):
            report.problems.append(Problem("--set", None, None, "", "syntax", f"expected name=value, not {quote(setting)}"))
            continue
        if name in given:
            _refuse(report, place, (), "duplicate", "is given twice")
            continue
        given.add(name)
        _apply(report, name, _read_value(value), place, parameters)


def _refuse(report: Report, place: Place, path: Path, code: str, message: str) -> None:
    report.problems.append(Problem(place.file, None, None, write_path(path), code, message))


def _read_value(value: str) -> object:
    """Return a value as a file would hold it: text, number, true, false or a list."""
    try:
        return parse(value, "--set").data
    except ConfigError:
        return value


def _apply(report: Report, name: str, value: object, place: Place, parameters: ParameterSet) -> None:
    keys, known = name.split("."), list_keys(ExperimentModel)
    if len(keys) > MOST_DEPTH:
        _refuse(report, place, tuple(keys[:_MOST_KEYS]), "depth", f"has more than {MOST_DEPTH} parts")
        return
    if keys[0] in known:
        path: Path = _with_override(keys)
    elif name in parameters:
        path = ("override", name)
    else:
        message = f"neither a key of an experiment nor a parameter{suggest(name, [*known, *parameters])}"
        _refuse(report, place, tuple(keys[:_MOST_KEYS]), "unknown", message)
        return
    try:
        put(report, path, value, place)
    except InputError as error:
        _refuse(report, place, path, "unknown", str(error))


def _with_override(keys: list[str]) -> Path:
    """Return the keys as a path; after `override` the rest is one dotted name."""
    if "override" in keys[:-1]:
        at = keys.index("override") + 1
        return (*keys[:at], ".".join(keys[at:]))
    return tuple(keys)


def put(report: Report, path: Path, value: object, place: Place) -> None:
    """Set the value at a path, reading the files that are named on the way and adding missing mappings.

    Raises
    ------
    InputError
        A value on the way is no mapping or list, or a list has no such entry.
    """
    document = report.document
    done: Path = ()
    for key in path[:-1]:
        done = _descend(report, done, key, place)
    last = _resolve_key(document, done, path[-1])
    if not isinstance(document.get(done), (dict, list)):
        raise InputError(f"{write_path(done)} holds no keys")
    document.cut((*done, last))
    document.set((*done, last), value)
    document.places[(*done, last)] = document.keys[(*done, last)] = place


def _descend(report: Report, done: Path, key: str | int, place: Place) -> Path:
    document = report.document
    key = _resolve_key(document, done, key)
    inner: Path = (*done, key)
    parent: Any = document.get(done)
    if isinstance(parent, dict) and parent.get(key) is None:
        shipped = reference_folder(inner) == "drugs" and key in list_names("drugs")
        parent[key] = key if shipped else {}
        document.places[inner] = document.keys[inner] = place
    held = document.get(inner)
    if isinstance(held, str) or (isinstance(held, dict) and EXTENDS in held):
        expand(report, inner)
    if not isinstance(document.get(inner), (dict, list)):
        raise InputError(f"{write_path(inner)} holds no keys")
    return inner


def _resolve_key(document: Document, done: Path, key: str | int) -> str | int:
    parent = document.get(done)
    if not isinstance(parent, list):
        return key
    if not str(key).isdecimal() or int(str(key)[:9]) >= len(parent):
        raise InputError(f"{write_path(done)} has no entry {quote(key)}; it has {len(parent)}, counted from 0")
    return int(str(key)[:9])
