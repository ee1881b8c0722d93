"""Checks every part of an experiment, then joins them."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from niche_sim.config.checks import (
    check_changes,
    check_course,
    check_population,
    check_record,
    check_route,
    check_scene,
    check_tick,
    check_time,
    find_image,
)
from niche_sim.config.drugs import DrugFile, read_drug
from niche_sim.config.experiment import Arm, Change, Experiment
from niche_sim.config.library import list_names
from niche_sim.config.numbers import check_override, read_parameters
from niche_sim.config.patients import read_patient
from niche_sim.config.problems import Path, suggest
from niche_sim.config.reader import Document, from_mapping
from niche_sim.config.references import expand
from niche_sim.config.report import Report
from niche_sim.config.schema import (
    ARM_NAME,
    DEFAULT_SWITCHES,
    SCENES,
    ChangeModel,
    CourseModel,
    ExperimentModel,
    ImageScene,
    PopulationModel,
    RecordModel,
    SceneSpec,
    TimeModel,
    list_keys,
)
from niche_sim.config.spread import read_spread
from niche_sim.errors import InputError
from niche_sim.parameters import ParameterSet
from niche_sim.regimens import Course
from niche_sim.units import convert, quote

_READ_ONCE = (
    "endocrine.", "hormone.", "drug_on_bone.surface_area", "drug_on_cells.gamma_delta_", "markers.", "aspirate.", "imaging.",
    "skeletal_events.",
)  # fmt: skip
"""Parameters that the patient or an observer of her reads once, not tick by tick."""


def is_read_once(name: str) -> bool:
    """Whether a parameter is read before the run only, so that it cannot become different on the way."""
    return name.startswith(_READ_ONCE)


def build(report: Report, reference: ParameterSet, shortened: bool, given: Experiment | None = None) -> Experiment:
    """Check every part, so that the mistakes of all are found, then join them; parameters and drugs of `given` are sound."""
    model = report.check_model(ExperimentModel)
    parameters = _read_parameters(report, reference, given.parameters if given is not None else None)
    scene = read_scene(report, ("scene",)) if report.document.get(("scene",)) is not None else None
    patient = read_patient(report, ("patient",)) if report.document.get(("patient",)) is not None else None
    # What is sound is checked further even if something else is not.
    time, record = report.read_part(TimeModel, ("time",)), report.read_part(RecordModel, ("record",))
    if time is not None:
        check_time(report, ("time",), time)
    if time is not None and record is not None:
        record = _shorten_record(record, time.length_h) if shortened else record
        check_record(report, ("record",), record, time)
    population = report.read_part(PopulationModel, ("population",))
    if scene is not None and population is not None:
        check_population(report, ("population",), population, scene)
    held = given.drugs if given is not None else {}
    arms, drugs = _read_arms(report, parameters or reference, None if shortened else _find_length(report), held)
    if time is not None:
        check_changes(report, arms, time)
    spread = read_spread(report, parameters or reference, patient, drugs, arms)
    if time is not None and scene is not None and parameters is not None and _moves(model):
        for chosen in (parameters, *(parameters.override(arm.override) for arm in arms.values())):
            check_tick(report, time, scene, chosen)
    report.raise_problems()
    assert model is not None and time is not None and record is not None
    assert parameters is not None and scene is not None and patient is not None
    if scene.seed is None:
        scene = scene.model_copy(update={"seed": model.seed})
    if shortened:
        arms = {name: _shorten_arm(arm, time.length_h) for name, arm in arms.items()}
    return Experiment(
        model.name,
        model.title,
        model.note,
        model.seed,
        time.length_h,
        time.tick_h,
        time.spin_up_h,
        scene,
        patient,
        model.population,
        parameters,
        drugs,
        DEFAULT_SWITCHES | _chosen(model.switches),
        arms,
        record.model_copy(update={"pictures_h": _pictures(record, time.length_h)}),
        spread,
    )


def replace_regimens(experiment: Experiment, regimens: Mapping[str, Any]) -> Experiment:
    """Return a sound experiment with other courses in some arms, of drugs that it has; all else is not read again.

    Raises
    ------
    ConfigError
        A course is not sound.
    """
    mapping = {"arms": {name: {"regimen": courses} for name, courses in regimens.items()}}
    report, arms = Report(from_mapping(mapping, experiment.name)), dict(experiment.arms)
    for name in regimens:
        courses = read_courses(report, ("arms", name, "regimen"), experiment.length_h)
        for path, course in courses:
            if course.drug in experiment.drugs:
                check_route(report, path, course, experiment.drugs[course.drug])
            else:
                note_unknown_drug(report, path, course.drug, list(experiment.drugs))
        arms[name] = replace(arms[name], regimen=[_build_course(course) for _, course in courses])
    report.raise_problems()
    return replace(experiment, arms=arms)


def _moves(model: ExperimentModel | None) -> bool:
    return model is None or model.switches is None or model.switches.migration is not False


def _find_length(report: Report) -> float | None:
    """Return the length of the run even where the rest of the time is not sound."""
    try:
        length_h = convert(report.document.get(("time", "length")), "h")
        return length_h if length_h > 0 else None
    except InputError:
        return None


def _chosen(switches: Any) -> dict[str, bool]:
    return switches.model_dump(exclude_none=True) if switches is not None else {}


def _pictures(record: Any, length_h: float) -> list[float] | float:
    """Return the interval of pictures, or their times in order; by default the start and the end."""
    if isinstance(record.pictures_h, float):
        return record.pictures_h
    return sorted(set([0.0, length_h] if record.pictures_h is None else record.pictures_h))


def _shorten_record(record: Any, length_h: float) -> Any:
    if not isinstance(record.pictures_h, list) or max(record.pictures_h, default=0.0) <= length_h:
        return record
    kept = [time_h for time_h in record.pictures_h if time_h < length_h]
    return record.model_copy(update={"pictures_h": [*kept, length_h]})


def _shorten_arm(arm: Arm, length_h: float) -> Arm:
    courses = [course for course in arm.regimen if course.start_h < length_h]
    return Arm(courses, arm.override, arm.switches, [change for change in arm.changes if change.at_h < length_h])


def _read_parameters(report: Report, reference: ParameterSet, given: ParameterSet | None) -> ParameterSet | None:
    """Return the parameters with the experiment's overrides."""
    parameters = given
    if given is None:
        layout = {name: item.inside_unit for name, item in reference.items()}
        parameters = read_parameters(report, ("parameters",), layout, "")
    # Names and units of overrides can be checked even where the set itself is not sound.
    changes = check_override(report, ("override",), parameters or reference)
    return parameters.override(changes) if parameters is not None else None


def read_scene(report: Report, path: Path) -> SceneSpec | None:
    """Return the scene at a path, or None after noting its mistakes."""
    data = report.document.get(path)
    if path in report.broken:
        return None
    if not isinstance(data, dict):
        report.fail(path, "type", f"expected a mapping with kind, {', '.join(list_keys(SCENES['generated'])[:6])}")
        return None
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in SCENES:
        place: Path = (*path, "kind")
        message = f"unknown kind of scene {quote(kind)}" if "kind" in data else "missing: 'kind' is needed here"
        report.add(
            place,
            "value" if "kind" in data else "missing",
            message + suggest(kind, SCENES),
            key="kind" not in data,
        )
        return None
    scene: Any = report.check_model(SCENES[kind], path)
    if scene is None:
        return None
    before = len(report.problems)
    check_scene(report, path, scene)
    if isinstance(scene, ImageScene):
        scene = find_image(report, path, scene)
        if len(report.problems) == before:
            from niche_sim.scenes import load_mask  # slow to load, and few scenes are images

            report.attempt((*path, "file"), "file", load_mask, scene.plain())
    return scene if len(report.problems) == before else None


# ---------------------------------------------------------------- arms


def _read_arms(
    report: Report, parameters: ParameterSet, length_h: float | None, held: Mapping[str, DrugFile]
) -> tuple[dict[str, Arm], dict[str, DrugFile]]:
    """Return the arms and the drugs, as far as they are sound; those that are `held` are."""
    data = report.document.get(("arms",))
    found: dict[str, Arm] = {}
    every: list[tuple[Path, CourseModel]] = []
    for name, arm in data.items() if isinstance(data, dict) else ():
        path: Path = ("arms", name)
        if not re.fullmatch(ARM_NAME, name):
            message = "the name of an arm is 1 to 64 letters, digits, _ and -, and does not begin with __"
            report.add(path, "value", message, key=True)
        if not isinstance(arm, dict):
            continue
        courses = read_courses(report, (*path, "regimen"), length_h)
        every += courses
        override = check_override(report, (*path, "override"), parameters)
        switches = arm.get("switches") or {}
        if name.lower() in {other.lower() for other in found}:
            report.add(path, "duplicate", "differs from another arm by upper and lower case only", key=True)
        changes = _read_changes(report, (*path, "changes"), parameters, length_h)
        found[name] = Arm([_build_course(course) for _, course in courses], override, switches, changes)
    return found, _read_drugs(report, every, held)


def _build_course(course: CourseModel) -> Course:
    return Course(**course.model_dump() | {"missed": tuple(sorted(course.missed))})


def _read_changes(report: Report, path: Path, parameters: ParameterSet, length_h: float | None) -> list[Change]:
    """Return what becomes different in an arm, in order of time; mistakes of the shape are the model's."""
    data = report.document.get(path)
    changes: list[Change] = []
    for i, entry in enumerate(data) if isinstance(data, list) else ():
        model = report.read_part(ChangeModel, (*path, i))
        if model is None:
            continue
        if length_h is not None and model.at_h >= length_h:
            report.add((*path, i, "at"), "range", f"{quote(entry['at'])} is not before the end of the run")
        if any(change.at_h == model.at_h for change in changes):
            report.add((*path, i, "at"), "duplicate", f"another change begins at {quote(entry['at'])}; write them as one")
        override = check_override(report, (*path, i, "override"), parameters)
        for name in override:
            if is_read_once(name):
                message = "is read once, before the run; it can differ between arms (`override` of the arm), not on the way"
                report.add((*path, i, "override", name), "value", message, key=True)
        changes.append(Change(model.at_h, override, _chosen(model.switches)))
    return sorted(changes, key=lambda change: change.at_h)


def read_courses(report: Report, path: Path, length_h: float | None) -> list[tuple[Path, CourseModel]]:
    """Return the sound courses of a regimen, each with its path."""
    data = report.document.get(path)
    if data is None or path in report.broken:
        return []
    if not isinstance(data, list) or len(data) > 1000:
        report.fail(path, "type", "expected the name of a regimen or a list of courses: [{drug: ..., dose: ...}]")
        return []
    courses = []
    for i, entry in enumerate(data):
        course = report.check_model(CourseModel, (*path, i))
        if course is None:
            _check_drug_name(report, (*path, i), entry)
        if course is not None:
            check_course(report, (*path, i), course, length_h)
            courses.append(((*path, i), course))
    return courses


def _check_drug_name(report: Report, path: Path, entry: Any) -> None:
    """Note an unknown drug of a course that has other mistakes."""
    own = report.document.get(("drugs",))
    known = [*list_names("drugs"), *(own if isinstance(own, dict) else ())]
    drug = entry.get("drug") if isinstance(entry, dict) else None
    if isinstance(drug, str) and drug not in known:
        note_unknown_drug(report, path, drug, known)


def note_unknown_drug(report: Report, path: Path, drug: str, known: list[str]) -> None:
    own = "; one of your own is listed in the experiment: `drugs: {NAME: ./NAME.yaml}`"
    report.add((*path, "drug"), "name", f"unknown drug {quote(drug)}{suggest(drug, known)}{own}")


def _read_drugs(
    report: Report, courses: list[tuple[Path, CourseModel]], held: Mapping[str, DrugFile]
) -> dict[str, DrugFile]:
    """Return the drugs that the experiment or `held` has or its courses name, in alphabetical order."""
    document = report.document
    own = document.get(("drugs",))
    own = {} if own is None else own
    if not isinstance(own, dict):
        report.fail(("drugs",), "type", "expected drugs: name: {...}")
        return {}
    held = {name: drug for name, drug in held.items() if name not in own}
    shipped = [] if all(course.drug in own or course.drug in held for _, course in courses) else list_names("drugs")
    known = sorted({*own, *held, *shipped})
    for path, course in courses:
        if course.drug not in known:
            note_unknown_drug(report, path, course.drug, known)
        elif course.drug not in own and course.drug not in held:
            document.data["drugs"] = own
            document.graft(("drugs", course.drug), Document("", course.drug, {(): document.place((*path, "drug"))}))
            expand(report, ("drugs", course.drug))
    drugs: dict[str, DrugFile | None] = dict(held)
    drugs |= {name: read_drug(report, ("drugs", name), name) for name in own if ("drugs", name) not in report.broken}
    for path, course in courses:
        drug = drugs.get(course.drug)
        if drug is not None:
            check_route(report, path, course, drug)
    return {name: drug for name, drug in sorted(drugs.items()) if drug is not None}
