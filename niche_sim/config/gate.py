"""The gate: everything that enters the simulation passes here, and every mistake is reported at once."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path as FilePath
from typing import Any

from niche_sim.config.assembly import build, note_unknown_drug, read_courses, read_scene
from niche_sim.config.drugs import DrugFile, read_drug
from niche_sim.config.experiment import Experiment
from niche_sim.config.extension import extend
from niche_sim.config.library import (
    find_experiment,
    find_file,
    list_available,
    list_names,
    read_named,
    recognise,
    show_path,
)
from niche_sim.config.numbers import read_parameters
from niche_sim.config.patients import read_patient
from niche_sim.config.problems import ConfigError, Path, Place, Problem
from niche_sim.config.reader import Document, from_mapping, read_document
from niche_sim.config.references import apply_settings, expand_all, put
from niche_sim.config.report import Report
from niche_sim.config.schema import (
    ExperimentModel,
    RegimenModel,
    build_schema,
    list_keys,
)
from niche_sim.errors import InputError
from niche_sim.parameters import ParameterSet

REFERENCE_SET = "human"
"""The set whose names and dimensions every parameter set has."""


def load_experiment(
    path_or_name: str | os.PathLike[str],
    *,
    sets: Sequence[str] | Mapping[str, str] = (),
    seed: int | None = None,
    length: str | None = None,
) -> Experiment:
    """Read, check and resolve an experiment.

    Parameters
    ----------
    path_or_name : str or path
        A YAML file, a folder with ``experiment.yaml``, the name of a shipped experiment or its beginning.
    sets : sequence of "name=value", or mapping of name to value
        Replace keys of the experiment (``time.length``, ``switches.division``, ``scene.voxel``) or parameters
        (``dormancy.exit_rate``).
    seed : int, optional
        Replaces the seed.
    length : str, optional
        Replaces ``time.length``; pictures and courses after the new end are left out.

    Raises
    ------
    ConfigError
        An InputError with all mistakes as `problems`.
    """
    settings = [f"{name}={value}" for name, value in sets.items()] if isinstance(sets, Mapping) else list(sets)
    file = _locate(find_experiment, os.fspath(path_or_name))
    shown = show_path(file) if os.fspath(file) != os.fspath(path_or_name) else os.fspath(path_or_name)
    return _pass(Report(read_document(file, shown, lenient=True)), settings, seed, length)


def _locate(find: Callable[[str], FilePath], text: str) -> FilePath:
    try:
        return find(text)
    except InputError as error:
        raise ConfigError([Problem(text, None, None, "", "name", str(error))]) from None


def build_experiment(
    mapping: Mapping[str, Any], source: str = "<api>", *, given: Experiment | None = None
) -> Experiment:
    """Check and resolve an experiment given as a mapping, like the content of its file.

    Parameters
    ----------
    mapping : mapping
    source : str
        Named in messages in place of a file.
    given : Experiment, optional
        One that has passed the gate already: its parameters stand in place of `parameters` of the mapping, and it has the
        drugs that the mapping has not.

    Raises
    ------
    ConfigError
        An InputError with all mistakes as `problems`.
    """
    return _pass(Report(from_mapping(mapping, source)), [], None, None, given)


def resolve_document(document: Document, settings: Sequence[str]) -> Experiment:
    """Check and resolve an experiment that has been read, with `name=value` settings; what they say is said of `--set name`.

    Raises
    ------
    ConfigError
        An InputError with all mistakes as `problems`.
    """
    return _pass(Report(document), list(settings), None, None)


def load_parameters(name: str) -> ParameterSet:
    """Read a parameter set by name or path.

    Raises
    ------
    ConfigError
        All mistakes of the file.
    """
    file = _locate(lambda text: find_file("parameters", text, FilePath()), name)
    report = Report(read_document(file, show_path(file), lenient=True))
    extend(report, ())
    found = read_parameters(report, (), _layout_for(file), file.stem)
    report.raise_problems()
    assert found is not None
    return found


def load_drug(name: str) -> DrugFile:
    """Read a drug by name or path.

    Raises
    ------
    ConfigError
        All mistakes of the file.
    """
    file = _locate(lambda text: find_file("drugs", text, FilePath()), name)
    report = Report(read_document(file, show_path(file), lenient=True))
    found = read_drug(report, (), name if file.stem == name else None)
    report.raise_problems()
    assert found is not None
    return found


def check_files(paths: Iterable[str | os.PathLike[str]]) -> list[Problem]:
    """Return every mistake of experiment, parameter, drug, scene, patient and regimen files.

    A file is recognised by its keys, else by the folder it is in; files that it names are checked with it.
    """
    problems: list[Problem] = []
    for path in paths:
        try:
            _check_file(os.fspath(path))
        except ConfigError as error:
            problems += [problem for problem in error.problems if problem not in problems]
        except InputError as error:
            problems.append(Problem(os.fspath(path), None, None, "", "file", str(error)))
    return problems


def experiment_schema() -> dict[str, Any]:
    """Return the JSON Schema (Draft 2020-12) of experiment files, for editors."""
    return build_schema(list_available(), list(_reference()))


def _check_file(path: str) -> None:
    document = read_document(path, lenient=True)
    kind, report = recognise(document.data, FilePath(path)), Report(document)
    if kind == "experiment":
        _pass(report, [], None, None)
    elif kind == "parameters":
        extend(report, ())
        read_parameters(report, (), _layout_for(FilePath(path)), "")
    elif kind == "drugs":
        read_drug(report, (), FilePath(path).stem)
    elif kind == "scenes":
        read_scene(report, ())
    elif kind == "patients":
        read_patient(report, ())
    else:
        _check_regimen(report)
    report.raise_problems()


def _check_regimen(report: Report) -> None:
    path: Path = ()
    if isinstance(report.document.data, dict):
        report.check_model(RegimenModel)
        path = ("courses",)
    courses = read_courses(report, path, None)
    for where, course in courses:
        if course.drug not in list_names("drugs"):
            note_unknown_drug(report, where, course.drug, list_names("drugs"))


# ---------------------------------------------------------------- the reference set


@lru_cache(maxsize=4)
def _read_reference(file: FilePath, stamp: int) -> ParameterSet:
    report = Report(read_named(file))
    found = read_parameters(report, (), None, file.stem)
    report.raise_problems()
    assert found is not None
    return found


def _reference() -> ParameterSet:
    file = find_file("parameters", REFERENCE_SET, FilePath())
    return _read_reference(file, file.stat().st_mtime_ns)


def _layout_for(file: FilePath) -> dict[str, str] | None:
    """Return the names and units that a set must have; the reference set defines its own."""
    if file.resolve() == find_file("parameters", REFERENCE_SET, FilePath()).resolve():
        return None
    return {name: item.inside_unit for name, item in _reference().items()}


# ---------------------------------------------------------------- an experiment


def _pass(
    report: Report, settings: list[str], seed: int | None, length: str | None, given: Experiment | None = None
) -> Experiment:
    """Apply options, read what is named, check everything, and build the experiment."""
    document = report.document
    if not isinstance(document.data, dict):
        report.fail((), "type", f"expected an experiment with {', '.join(list_keys(ExperimentModel))}")
        report.raise_problems()
    if isinstance(document.data.get("design"), dict):
        message = "this is a study, not an experiment: `niche-sim study` runs it, `niche-sim plan` says what it needs"
        report.fail(("design",), "unknown", message, key=True)
        report.problems = report.problems[-1:]
        report.raise_problems()
    reference = _reference() if given is None else given.parameters
    if given is None:
        document.data.setdefault("parameters", REFERENCE_SET)
    options: list[tuple[Path, Any, str]] = [
        (("seed",), seed, "--seed"),
        (("time", "length"), length, "--length"),
    ]
    for path, value, option in options:
        if value is not None:
            report.attempt(path, "type", put, report, path, value, Place(option))
    apply_settings(report, settings, reference)
    expand_all(report)
    shortened = length is not None or any(text.strip().startswith("time.length") for text in settings)
    return build(report, reference, shortened, given)
