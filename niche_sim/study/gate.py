"""The gate of study files: every mistake at once, with its place."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

import pandas as pd

from niche_sim.config.experiment import Experiment
from niche_sim.config.gate import build_experiment, load_experiment, resolve_document
from niche_sim.config.library import find_experiment, is_path, show_path
from niche_sim.config.problems import ConfigError, Path, Place, Problem, suggest
from niche_sim.config.reader import read_document, read_scalar
from niche_sim.config.report import Report
from niche_sim.errors import InputError, ResourceError
from niche_sim.study.constraints import read_constraint
from niche_sim.study.design import build_design, check_size, list_units
from niche_sim.study.endpoints import check_column, is_brief, read_take, usual_endpoints
from niche_sim.study.factors import read_factor
from niche_sim.study.finding import locate_study
from niche_sim.study.places import split_place
from niche_sim.study.rows import read_rows
from niche_sim.study.runs import build_point, survey_points
from niche_sim.study.schema import DesignModel, EndpointModel, FactorModel, StudyModel
from niche_sim.study.spec import Design, Endpoint, Factor, Study
from niche_sim.study.values import Value, find_value, write_text
from niche_sim.units import quote

MOST_CHECKED = 2000
"""Points that `check` passes through the gate; before a study runs, all are."""

RESERVED = {
    "point", "replicate", "arm", "key", "status", "error", "batch", "name", "first", "number", "spin_up", "endpoint", "unit",
    "response", "reference", "factor", "planned", "done", "failed", "missing", "values", "mean", "sd", "low", "high",
    "difference", "ratio", "ratio_low", "ratio_high",
}  # fmt: skip
"""Columns of the tables of a study, which no factor or endpoint can have as its name."""

_OWN_SETTINGS = re.compile(r"design\.[a-z_]+|replicates")
_WHOLE_FILES = ("scene", "patient", "regimen", "drug", "sbml")
_TWO_POWERED = ("sobol_sequence", "saltelli")
_UNFILTERED = {
    "morris": "its trajectories would break", "saltelli": "its pairs of points would break",
    "table": "leave the rows out of the table",
}  # fmt: skip


def check_study(path: str | os.PathLike[str]) -> list[Problem]:
    """Return every mistake of a study file, and of the first MOST_CHECKED of its points."""
    try:
        study = load_study(path)
        survey_points(study, build_design(study).head(MOST_CHECKED))
    except ConfigError as error:
        return [replace(problem, file=os.fspath(path)) if problem.line is None else problem for problem in error.problems]
    except (InputError, ResourceError) as error:
        return [Problem(os.fspath(path), None, None, "", "value", str(error))]
    return []


def load_study(path: str | os.PathLike[str], *, sets: Sequence[str] = ()) -> Study:
    """Read, check and resolve a study.

    Parameters
    ----------
    path : str or path
        A study file, or the name of a shipped study.
    sets : sequence of "name=value"
        Replace keys of the study (``design.points``, ``replicates``) or of its experiment (``time.length``,
        ``dormancy.exit_rate``).

    Raises
    ------
    ConfigError
        An InputError with all mistakes as `problems`.
    """
    file = locate_study(os.fspath(path))
    shown = show_path(file) if os.fspath(file) != os.fspath(path) else os.fspath(path)
    report = Report(read_document(file, shown, lenient=True))
    if not isinstance(report.document.data, dict):
        report.fail((), "type", "expected a study with name, experiment, design, factors")
        report.raise_problems()
    if not {"design", "experiment"} & set(report.document.data) and "arms" in report.document.data:
        remedy = "`niche-sim run` runs it; a study has `experiment:` and `design:`"
        report.fail((), "type", f"is an experiment, not a study: {remedy}")
        report.raise_problems()
    _apply_own(report, sets)
    return _Reader(report, FilePath(file).parent, [text for text in sets if not _is_own(text)]).read()


def _is_own(setting: str) -> bool:
    return bool(_OWN_SETTINGS.fullmatch(setting.partition("=")[0].strip()))


def _apply_own(report: Report, sets: Sequence[str]) -> None:
    """Put the settings that concern the study itself into its document."""
    document = report.document
    for setting in filter(_is_own, sets):
        name, _, text = (part.strip() for part in setting.partition("="))
        keys: Path = tuple(name.split("."))
        if isinstance(document.get(keys[:-1]), dict):
            document.cut(keys)
            document.set(keys, read_scalar(text))
            document.places[keys] = document.keys[keys] = Place(f"--set {name}")


class _Reader:
    """Reads one study; what is sound is checked further even if something else is not."""

    def __init__(self, report: Report, folder: FilePath, settings: list[str]) -> None:
        self.report, self.document, self.folder, self.settings = report, report.document, folder, settings
        self.table_hash, self.head = "", pd.DataFrame()

    def read(self) -> Study:
        model = self.report.check_model(StudyModel)
        experiment = self.read_experiment()
        arms = self.read_arms(experiment)
        design = self.read_layout()
        resolved: dict[str, Any] = {}
        factors: tuple[Factor, ...] = ()
        if experiment is not None:
            resolved = reduce_experiment(experiment, arms)
            factors = self.read_factors(experiment, resolved, arms, design)
        self.check_constraints(factors, design)
        endpoints = self.read_endpoints()
        if resolved and resolved["record"]["series"] is False and not all(map(is_brief, endpoints)):
            message = "the experiment records no series, of which the endpoints are; `set: {record.series: 1 d}` does"
            self.report.add(("endpoints",), "value", message)
        replicates = model.replicates if model else 1
        if design is not None:
            design = replace(design, table_hash=self.table_hash)
        study = Study(
            model.name if model else "", model.title if model else "", model.note if model else "", resolved, arms,
            design or Design(""), factors, replicates, tuple(model.constraints) if model else (), endpoints,
        )  # fmt: skip
        if experiment is not None and factors:
            self.try_factors(study)
        self.report.raise_problems()
        check_size(study)
        return study

    # ------------------------------------------------------------ the experiment

    def read_experiment(self) -> Experiment | None:
        """Return the experiment with the settings of the file and of the command line, or None after noting its mistakes."""
        named = self.document.get(("experiment",))
        if not isinstance(named, (dict, str)):
            if named is not None:
                self.report.fail(("experiment",), "type", "expected the name or path of an experiment, or its content")
            return None
        try:
            return self.resolve(named, self.list_settings())
        except ConfigError as error:
            self.adopt(error, isinstance(named, dict))
        except InputError as error:
            self.report.fail(("experiment",), "name", str(error))
        try:
            return self.resolve(named, [])  # factors can still be checked where settings alone are wrong
        except InputError:
            return None

    def resolve(self, named: dict[str, Any] | str, settings: list[str]) -> Experiment:
        if isinstance(named, dict):
            return resolve_document(self.document.cut_out(("experiment",)), settings)
        beside = is_path(named) and not FilePath(named).is_absolute()
        file = find_experiment(os.fspath(self.folder / named) if beside else named)
        return load_experiment(os.fspath(file), sets=settings)

    def list_settings(self) -> list[str]:
        """Return what is set as `name=value`; the command line replaces the file."""
        data = self.document.get(("set",))
        given = {text.partition("=")[0].strip() for text in self.settings}
        own = [
            f"{name}={self.find_beside(name, value) if isinstance(value, str) else json.dumps(value)}"
            for name, value in (data.items() if isinstance(data, dict) else ())
            if name not in given
        ]
        return own + self.settings

    def find_beside(self, name: str, value: str) -> str:
        """Return a value of `set`; that which names a file does so from the folder of the study."""
        named = name == "scene.file" or value.endswith((".yaml", ".yml"))
        return os.fspath(self.folder / value) if named else value

    def adopt(self, error: ConfigError, inline: bool) -> None:
        """Take over what is wrong with the experiment; what `set` of the file brought is said there."""
        own = self.document.get(("set",))
        for problem in error.problems:
            name = problem.file.removeprefix("--set ")
            if name != problem.file and isinstance(own, dict) and name in own:
                self.report.add(("set", name), problem.code, problem.message)
            elif problem.code == "file" and problem.line is None:
                self.report.fail(("experiment",), "file", f"{quote(problem.file)} {problem.message}")
            else:
                path = f"experiment.{problem.path}" if inline and problem.path else problem.path
                self.report.problems.append(replace(problem, path=path))
        self.report.broken.add(("experiment",))

    def read_arms(self, experiment: Experiment | None) -> tuple[str, ...]:
        named = self.document.get(("arms",))
        if experiment is None:
            return ()
        if not isinstance(named, list) or not named:
            return tuple(experiment.arms)
        for i, name in enumerate(named):
            if isinstance(name, str) and name not in experiment.arms:
                self.report.add(("arms", i), "name", f"no arm is called {quote(name)}{suggest(name, experiment.arms)}")
            elif name in named[:i]:
                self.report.add(("arms", i), "duplicate", f"{quote(name)} is already in the list")
        return tuple(dict.fromkeys(name for name in named if isinstance(name, str) and name in experiment.arms))

    # ------------------------------------------------------------ design and factors

    def read_layout(self) -> Design | None:
        """Return how points are laid out, or None after noting what is wrong beyond single keys."""
        model = self.report.read_part(DesignModel, ("design",))
        data = self.document.get(("design",))
        if model is None or not isinstance(data, dict):
            return None
        kind = model.kind
        known = {"table": ["table"], "grid": [], "morris": ["points", "seed", "levels"]}.get(kind, ["points", "seed"])
        known += ["second_order"] if kind == "saltelli" else []
        for key in data:
            if key not in ("kind", *known) and key in DesignModel.model_fields:
                allowed = f"; it has {', '.join(known)}" if known else ""
                self.report.add(("design", key), "value", f"a design of kind {kind} has no `{key}`{allowed}", key=True)
        for key in known:
            if key in ("points", "table") and key not in data:
                self.report.add(("design", key), "missing", f"missing: '{key}' is needed for kind {kind}", key=True)
        points = model.points or 0
        if kind in _TWO_POWERED and points & (points - 1):
            low = 1 << (points.bit_length() - 1)
            message = f"the sequence is balanced at powers of 2 only: take {low} or {2 * low}"
            self.report.add(("design", "points"), "range", message)
        if kind == "morris" and model.levels % 2:
            self.report.add(("design", "levels"), "range", f"{model.levels} is odd; a trajectory needs an even number")
        table = os.fspath((self.folder / model.table).resolve()) if model.table else ""
        return Design(kind, points, model.seed, model.levels, model.second_order, table)

    def read_factors(
        self, experiment: Experiment, resolved: dict[str, Any], arms: tuple[str, ...], design: Design | None
    ) -> tuple[Factor, ...]:
        """Return the sound factors; of a table, with what its columns hold."""
        data = self.document.get(("factors",))
        found: list[Factor] = []
        taken: dict[tuple[str, ...], str] = {}
        # In alphabetical order, so that equal studies, whose hashes know no order of keys, have the same points.
        for name, entry in sorted(data.items()) if isinstance(data, dict) else ():
            if not isinstance(entry, dict) or self.report.read_part(FactorModel, ("factors", name)) is None:
                continue
            if name in RESERVED or (name.endswith(".value") and name.removesuffix(".value") in data):
                message = f"{name!r} is a column of the tables already; take another name"
                self.report.add(("factors", name), "name", message, key=True)
                continue
            factor = read_factor(self.report, name, resolved, experiment.parameters, design.kind if design else "")
            if factor is None:
                continue
            for place in factor.places:
                self.check_taken(name, place, taken)
            found.append(factor)
        factors = tuple(found)
        if design is not None and design.kind == "table" and design.table and len(found) == len(data or ()):
            factors = self.read_columns(found, design)
        for factor in factors:
            self.check_files(factor)
        return factors

    def check_files(self, factor: Factor) -> None:
        """Note values that name files of the user: the folder of a study, which must stand alone, would not hold them."""
        own = [value for value in factor.values if isinstance(value, str) and is_path(value)]
        if own and any(place.rpartition(".")[2] in _WHOLE_FILES for place in factor.places):
            remedy = "name shipped ones, or run a study for each: `set: {scene: my_scene.yaml}`"
            self.report.add(("factors", factor.name), "file", f"{quote(own[0])} is a file of your own; {remedy}", key=True)

    def check_taken(self, name: str, place: str, taken: dict[tuple[str, ...], str]) -> None:
        """Note a place that another factor moves too, or that lies inside of one."""
        keys = split_place(place)
        for other, owner in taken.items():
            if keys[: len(other)] == other or other[: len(keys)] == keys:
                message = f"{place!r} is moved by the factor {owner!r} already"
                self.report.add(("factors", name, "at"), "duplicate", message)
                return
        taken[keys] = name

    def read_columns(self, factors: list[Factor], design: Design) -> tuple[Factor, ...]:
        shown = show_path(FilePath(design.table))
        try:
            rows = read_rows(FilePath(design.table), shown, factors)
        except ConfigError as error:
            if error.problems[0].code == "file":
                self.report.add(("design", "table"), "file", f"{quote(shown)} {error.problems[0].message}")
            else:
                self.report.adopt(("design", "table"), error)
            return ()
        if rows.problems:
            self.report.adopt(("design", "table"), ConfigError(rows.problems))
        self.table_hash, self.head = rows.digest, rows.head
        return rows.factors

    # ------------------------------------------------------------ constraints and endpoints

    def check_constraints(self, factors: tuple[Factor, ...], design: Design | None) -> None:
        texts = self.document.get(("constraints",))
        units = list_units(factors)
        for i, text in enumerate(texts) if isinstance(texts, list) else ():
            if design is not None and design.kind in _UNFILTERED:
                message = f"a design of kind {design.kind} takes no constraints: {_UNFILTERED[design.kind]}"
                self.report.add(("constraints",), "value", message, key=True)
                return
            self.report.attempt(("constraints", i), "value", read_constraint, text, units)

    def read_endpoints(self) -> tuple[Endpoint, ...]:
        data = self.document.get(("endpoints",))
        if not isinstance(data, dict) or not data:
            return usual_endpoints()
        found = []
        for name in sorted(data):
            path: Path = ("endpoints", name)
            if name in RESERVED:
                self.report.add(path, "name", f"{name!r} is a column of the tables already; take another name", key=True)
            model = self.report.read_part(EndpointModel, path)
            if model is None:
                continue
            take = self.report.attempt((*path, "take"), "value", read_take, model.take)
            self.report.attempt((*path, "column"), "name", check_column, model.column)
            if take is not None:
                found.append(Endpoint(name, model.column, *take))
        return tuple(found)

    # ------------------------------------------------------------ the gate of the experiment

    def try_factors(self, study: Study) -> None:
        """Pass each factor alone through the gate of experiments, in the middle and at its ends; of a table, its rows.

        What is in a row belongs together: a drug may be one that the route of the experiment is none of.
        """
        try:
            build_experiment(study.experiment, study.name)
        except ConfigError:
            return  # said already, of the arms that are left
        if study.design.kind == "table":
            try:
                survey_points(study, self.head)
            except ConfigError as error:
                self.report.problems += error.problems
            return
        for factor in study.factors:
            sound = len(self.report.problems)
            for path, (text, _) in _list_trials(factor):
                if path == ("range",) and len(self.report.problems) > sound:
                    continue
                try:
                    build_point(study, {factor.name: text})
                except ConfigError as error:
                    self.tell_trial(factor, path, error)

    def tell_trial(self, factor: Factor, path: Path, error: ConfigError) -> None:
        here: Path = ("factors", factor.name)
        for problem in error.problems:
            at = (*here, *path) if problem.code in ("range", "unit", "type", "value") else (*here, "at")
            named = "" if problem.path.removeprefix("override.") == factor.places[0] else f"{problem.path}: "
            hint = "; take `distribution: integer`" if "expected a whole number" in problem.message else ""
            self.report.add(at, problem.code, f"{named}{problem.message}{hint}", key=self.document.get(at) is None)


def _list_trials(factor: Factor) -> list[tuple[Path, Value]]:
    """Return values of a factor to try, each with the key of the factor that brings it."""
    if factor.distribution == "choice":
        return [(("values", i), (write_text(value), 0.0)) for i, value in enumerate(factor.values[:50])]
    tries: list[tuple[Path, float]] = [(("range", 0), 0.0), (("range", 1), 1.0), (("range",), 0.5)]
    return [(path, find_value(factor, u)) for path, u in tries]


def reduce_experiment(experiment: Experiment, arms: Sequence[str]) -> dict[str, Any]:
    """Return a resolved experiment with some arms alone, the drugs that they are given, and no patients of a cohort."""
    kept = {name: experiment.arms[name] for name in arms or experiment.arms}
    given = {course.drug for arm in kept.values() for course in arm.regimen}
    drugs = {name: file for name, file in experiment.drugs.items() if name in given}
    return replace(experiment, arms=kept, drugs=drugs, spread=()).resolved()


