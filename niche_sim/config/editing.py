"""Changes of an experiment by hand: of one arm, from a moment on. Every mistake is the gate's own, at its field.

A mapping here is what `Experiment.resolved()` returns. What is given comes back as another one, and is not changed itself.
"""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from niche_sim.config.branching import add_change
from niche_sim.config.courses import begin_courses, end_courses, read_hours, tidy_time
from niche_sim.config.experiment import Experiment
from niche_sim.config.gate import build_experiment
from niche_sim.config.problems import ConfigError
from niche_sim.config.schema import is_whole
from niche_sim.errors import InputError
from niche_sim.parameters import ParameterSet
from niche_sim.units import write

MOMENT, NAME = "moment", "name"
"""Places of mistakes that belong to no field: the time of the change, the name of an arm."""

_LONGEST_NAME = 64


class Edit(NamedTuple):
    """What became of a change: the new experiment, or the mistakes by place.

    A place is the name of a parameter or switch, ``INDEX.KEY`` of a course, the key of a dose, `MOMENT`, `NAME`, or empty
    for what concerns the whole.
    """

    mapping: dict[str, Any] | None
    mistakes: dict[str, str]


Change = Callable[[Mapping[str, Any]], Edit]
"""A change of an experiment, still to be made in the one that holds when its turn comes."""


# ---------------------------------------------------------------- what holds


def find_parameters(experiment: Experiment, arm: str, moment_h: float, *, before: bool = False) -> ParameterSet:
    """Return the parameters that hold in an arm from a moment on, or until just before it."""
    found = experiment.arm_parameters(arm)
    for change in experiment.arms[arm].changes:
        if change.at_h < moment_h or (change.at_h == moment_h and not before):
            found = found.override(change.override)
    return found if moment_h > 0 or not before else experiment.parameters


def find_switches(experiment: Experiment, arm: str, moment_h: float, *, before: bool = False) -> dict[str, bool]:
    """Return every switch as it stands in an arm from a moment on, or until just before it."""
    found = experiment.arm_switches(arm)
    for change in experiment.arms[arm].changes:
        if change.at_h < moment_h or (change.at_h == moment_h and not before):
            found = found | change.switches
    return found if moment_h > 0 or not before else dict(experiment.switches)


def find_phase(mapping: Mapping[str, Any], arm: str, moment_h: float) -> float:
    """Return the time (h) of the last change of an arm up to a moment: since then the same parameters and switches hold."""
    times = [read_hours(change["at"], "at") for change in find_arm(mapping, arm).get("changes") or []]
    return max([time_h for time_h in times if time_h <= moment_h], default=0.0)


def list_courses(mapping: Mapping[str, Any], arm: str, moment_h: float) -> list[dict[str, Any]]:
    """Return what of the regimen of an arm is still to be given at a moment, as courses that begin with their next dose."""
    courses = find_arm(mapping, arm).get("regimen") or []
    if moment_h == 0:
        return copy.deepcopy(list(courses))
    return begin_courses(courses, moment_h, read_hours(mapping["time"]["length"], "time.length"))


def find_arm(mapping: Mapping[str, Any], arm: str) -> dict[str, Any]:
    """Return an arm of an experiment.

    Raises
    ------
    InputError
        There is none of that name.
    """
    if arm not in mapping["arms"]:
        raise InputError(f"no arm '{arm}'; there is {', '.join(mapping['arms'])}")
    return mapping["arms"][arm]


# ---------------------------------------------------------------- changes


def change_parameters(mapping: Mapping[str, Any], arm: str, moment_h: float, values: Mapping[str, str | float]) -> Edit:
    """Give parameters of an arm other values from a moment on.

    Parameters
    ----------
    mapping : mapping
    arm : str
    moment_h : float
        0 changes the arm from its start; what an arm changes later stays.
    values : mapping of dotted name to value
        Texts with a unit, or numbers. A value that holds anyway is not written.
    """
    experiment = build_experiment(mapping)
    find_arm(mapping, arm)
    usual = find_parameters(experiment, arm, moment_h, before=True)

    def is_usual(name: str, value: Any) -> bool:
        try:
            return usual[name].replace(value).value == usual[name].value
        except InputError:
            return False  # the gate tells why

    return _change(mapping, arm, moment_h, "override", dict(values), is_usual)


def change_switches(mapping: Mapping[str, Any], arm: str, moment_h: float, values: Mapping[str, bool]) -> Edit:
    """Switch processes and effects of an arm on or off from a moment on; parameters as in `change_parameters`."""
    experiment = build_experiment(mapping)
    find_arm(mapping, arm)
    usual = find_switches(experiment, arm, moment_h, before=True)
    return _change(mapping, arm, moment_h, "switches", dict(values), lambda name, value: usual.get(name) is value)


def _change(
    mapping: Mapping[str, Any], arm: str, moment_h: float, key: str, values: dict[str, Any],
    is_usual: Callable[[str, Any], bool],
) -> Edit:  # fmt: skip
    new, target = _copy_arm(mapping, arm)
    if moment_h == 0:
        held = dict(target.get(key) or {}) | values
        target[key] = {name: value for name, value in held.items() if not is_usual(name, value)}
    else:
        changes = add_change(target.get("changes") or [], moment_h, *((values, {}) if key == "override" else ({}, values)))
        changes[-1][key] = {name: value for name, value in changes[-1][key].items() if not is_usual(name, value)}
        target["changes"] = changes if changes[-1]["override"] or changes[-1]["switches"] else changes[:-1]
    return _pass(new, arm, moment_h, values)


def change_regimen(mapping: Mapping[str, Any], arm: str, moment_h: float, courses: Sequence[Mapping[str, Any]]) -> Edit:
    """Give an arm other courses from a moment on; every dose before it stays, one due exactly then is not given.

    Parameters
    ----------
    mapping : mapping
    arm : str
    moment_h : float
    courses : sequence of mapping
        With the keys and units of a file; times are those of the run. Without `start` a course begins at the moment.
        `list_courses` returns what would be given without a change.
    """
    new, target = _copy_arm(mapping, arm)
    kept = end_courses(target.get("regimen") or [], moment_h)
    written = [{"start": write(moment_h, "h")} | dict(course) for course in courses]
    target["regimen"] = kept + written
    edit = _pass(new, arm, moment_h, {}, len(kept))
    early = {f"{i}.start": _tell_early(course["start"], moment_h) for i, course in enumerate(written)}
    mistakes = edit.mistakes | {place: told for place, told in early.items() if told and place not in edit.mistakes}
    return Edit(None, mistakes) if mistakes else edit


def _tell_early(start: Any, moment_h: float) -> str:
    try:
        early = read_hours(start, "start") < moment_h
    except InputError:
        return ""  # the gate tells why
    return f"'{start}' is past: it is {_name(moment_h)}, and what was given stays" if early else ""


def give_dose(
    mapping: Mapping[str, Any], arm: str, moment_h: float, drug: str, dose: str, route: str | None = None,
    infusion: str | None = None,
) -> Edit:  # fmt: skip
    """Add one dose at a moment to the regimen of an arm; all else stays. Places are the keys."""
    new, target = _copy_arm(mapping, arm)
    course = {"drug": drug, "dose": dose, "start": write(moment_h, "h")}
    course |= {key: value for key, value in (("route", route), ("infusion", infusion)) if value is not None}
    courses = target.get("regimen") or []
    target["regimen"] = [*courses, course]
    edit = _pass(new, arm, moment_h, {}, len(courses))
    places = {"0.start": MOMENT} | {f"0.{key}": key for key in ("drug", "dose", "route", "infusion")}
    mistakes: dict[str, str] = {}
    for place, told in edit.mistakes.items():
        mistakes.setdefault(places.get(place, place), told)
    return Edit(edit.mapping, mistakes)


# ---------------------------------------------------------------- arms and length


def name_arm(mapping: Mapping[str, Any], arm: str) -> str:
    """Return a free name for another future of an arm: `control_2`, `control_3` ..."""
    stem = re.sub(r"_[0-9]+$", "", arm)
    taken = {name.lower() for name in mapping["arms"]}
    numbers = range(2, len(taken) + 3)
    names = (f"{stem[: _LONGEST_NAME - len(f'_{number}')]}_{number}" for number in numbers)
    return next(name for name in names if name.lower() not in taken)


def add_arm(mapping: Mapping[str, Any], arm: str, name: str | None = None) -> Edit:
    """Add a copy of an arm, called `name` or as `name_arm` says; mistakes are at `NAME`."""
    source = find_arm(mapping, arm)
    name = name_arm(mapping, arm) if name is None else name
    if name in mapping["arms"]:
        return Edit(None, {NAME: f"there is already an arm '{name}'"})
    new = dict(mapping) | {"arms": dict(mapping["arms"]) | {name: copy.deepcopy(source)}}
    edit = _pass(new, arm, 0.0, {})
    told = "; ".join(words.removeprefix(f"arms.{name}: ") for words in edit.mistakes.values())
    return Edit(edit.mapping, {NAME: told} if told else {})


def cut_to(mapping: Mapping[str, Any], time_h: float, arms: Sequence[str]) -> dict[str, Any]:
    """Return the experiment that ends at a time, with these arms only: run, it ends in the state that they have then.

    Courses and changes that begin later are left out, and pictures after it but for one at the end. Its drugs are all of the
    experiment, so that the final state has the same shape.

    Raises
    ------
    InputError
        The time is no whole number of ticks above 0 (at time 0 nothing has been run), or an arm is unknown.
    """
    length = write(time_h, "h")
    if time_h == 0:
        raise InputError("nothing has been simulated yet, so there is no state to reproduce; run at least one tick")
    new = dict(mapping) | {
        "time": dict(mapping["time"]) | {"length": length},
        "record": _cut_pictures(mapping["record"], time_h),
        "arms": {name: _cut_arm(find_arm(mapping, name), time_h) for name in arms},
    }
    return build_experiment(new).resolved()


def _cut_pictures(record: Mapping[str, Any], time_h: float) -> dict[str, Any]:
    pictures = record.get("pictures") or []
    if not isinstance(pictures, list):  # an interval ends with a picture of the end by itself
        return dict(record)
    kept = [picture for picture in pictures if read_hours(picture, "pictures") < time_h]
    return dict(record) | {"pictures": [*kept, write(time_h, "h")]}


def _cut_arm(arm: Mapping[str, Any], time_h: float) -> dict[str, Any]:
    kept = [course for course in arm.get("regimen") or [] if read_hours(course.get("start", "0 h"), "start") < time_h]
    changes = [change for change in arm.get("changes") or [] if read_hours(change["at"], "at") < time_h]
    others = {key: value for key, value in arm.items() if key != "changes"}
    return others | {"regimen": kept} | ({"changes": changes} if changes else {})


# ---------------------------------------------------------------- the gate


def _copy_arm(mapping: Mapping[str, Any], arm: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the experiment with a copy of one arm, and that copy."""
    target = copy.deepcopy(dict(find_arm(mapping, arm)))
    return dict(mapping) | {"arms": dict(mapping["arms"]) | {arm: target}}, target


def _pass(new: Mapping[str, Any], arm: str, moment_h: float, values: Mapping[str, Any], kept: int = 0) -> Edit:
    """Return the experiment if the gate lets it through, else what it says; `kept` courses come before those of the form."""
    fault = _tell_moment(new, moment_h)
    mistakes = {MOMENT: fault} if fault else {}
    try:
        checked = build_experiment(new)
    except ConfigError as error:
        for problem in error.problems:
            place = _find_place(problem.path, problem.message, arm, values, kept)
            told = problem.message if place else f"{problem.path}: {problem.message}"
            if place not in mistakes:
                mistakes[place] = told
            elif place != MOMENT:
                mistakes[place] += f"; {told}"
    return Edit(None, mistakes) if mistakes else Edit(checked.resolved(), {})


def _tell_moment(mapping: Mapping[str, Any], moment_h: float) -> str:
    """Return what is wrong with the moment of a change, or nothing."""
    tick_h, length_h = (read_hours(mapping["time"][key], f"time.{key}") for key in ("tick", "length"))
    if not is_whole(moment_h / tick_h):
        return f"{_name(moment_h)} is not a whole number of ticks of {_name(tick_h)}"
    if not 0 <= moment_h < length_h:
        return f"{_name(moment_h)} is not inside the run, which ends at {_name(length_h)}"
    return ""


def _name(hours: float) -> str:
    return tidy_time(str(write(hours, "h")))


def _find_place(path: str, message: str, arm: str, values: Mapping[str, Any], kept: int) -> str:
    """Return the field that a dotted path of the gate concerns."""
    inner = path.removeprefix(f"arms.{arm}.")
    found = re.fullmatch(r"(?:changes\.\d+\.)?(?:override|switches)\.(.+)", inner)
    if found:
        return found.group(1)
    if re.fullmatch(r"changes\.\d+\.at", inner):
        return MOMENT
    found = re.fullmatch(r"regimen\.(\d+)(?:\.([a-z]+))?.*", inner)
    if found and int(found.group(1)) >= kept:
        number, key = int(found.group(1)) - kept, found.group(2)
        return f"{number}.{key}" if key else str(number)
    return next((name for name in values if name in message), "")
