"""The experiment that a branch runs: a finished one, changed from a time on."""

import copy
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from niche_sim.config.library import find_file
from niche_sim.config.reader import read_document
from niche_sim.config.schema import SWITCHES, is_whole
from niche_sim.errors import InputError
from niche_sim.units import convert, write


def _hours(text: Any, where: str) -> float:
    try:
        return convert(text, "h")
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _sort_settings(settings: Sequence[str]) -> tuple[dict[str, str], dict[str, bool]]:
    """Return parameters and switches of `name=value` settings."""
    override: dict[str, str] = {}
    switches: dict[str, bool] = {}
    for setting in settings:
        name, equals, value = (part.strip() for part in setting.partition("="))
        if not (name and equals and value):
            raise InputError(f"--set: expected name=value, not '{setting}'")
        switch = name.removeprefix("switches.")
        if switch in SWITCHES:
            if value not in ("true", "false"):
                raise InputError(f"--set {name}: expected true or false, not '{value}'")
            switches[switch] = value == "true"
        elif name.count(".") == 1 and not name.startswith(("time.", "population.", "scene.", "record.", "patient.")):
            override[name] = value
        else:
            raise InputError(f"--set {name}: a branch changes parameters and switches only; the past cannot be changed")
    return override, switches


def _end_courses(courses: Sequence[Mapping[str, Any]], moment_h: float) -> list[dict[str, Any]]:
    """Return the courses that began before a time, none giving a dose from it on."""
    kept = []
    for course in courses:
        if _hours(course.get("start", "0 h"), "start") >= moment_h:
            continue
        ended = dict(course)
        if "interval" in course:
            ended["until"] = write(min(moment_h, _find_end(ended)), "h")
            missed = [number for number in ended.pop("missed", ()) if _due_h(course, number) < moment_h]
            ended |= {"missed": missed} if missed else {}
        kept.append(ended)
    return kept


def _due_h(course: Mapping[str, Any], number: int) -> float:
    """Return when a dose of a repeated course is due, by its number from 1."""
    return _hours(course.get("start", "0 h"), "start") + (number - 1) * _hours(course["interval"], "interval")


def _find_end(course: dict[str, Any]) -> float:
    """Return the time from which a repeated course gives no dose, and take `doses` out of it: `until` replaces it."""
    if "doses" in course:
        return _due_h(course, course.pop("doses") + 1)
    return _hours(course["until"], "until") if "until" in course else math.inf


def _read_courses(regimen: str, moment_h: float) -> list[dict[str, Any]]:
    """Return the courses of a regimen's file, their time 0 put at `moment_h`."""
    document = read_document(os.fspath(find_file("regimens", regimen, FilePath())))
    data = document.data
    courses = data.get("courses") if isinstance(data, dict) else data
    if not isinstance(courses, list) or not all(isinstance(course, dict) for course in courses):
        raise InputError(f"{regimen}: expected a regimen: courses: [{{drug: ..., dose: ...}}]")
    moved = []
    for course in courses:
        shifted = dict(course) | {"start": write(moment_h + _hours(course.get("start", "0 h"), "start"), "h")}
        if "until" in course:
            shifted["until"] = write(moment_h + _hours(course["until"], "until"), "h")
        moved.append(shifted)
    return moved


def _add_change(
    changes: list[dict[str, Any]], moment_h: float, override: dict[str, Any], switches: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return changes with one more, or with more in the one that begins at the same time."""
    same = [change for change in changes if _hours(change["at"], "changes") == moment_h]
    others = [change for change in changes if change not in same]
    joined: dict[str, Any] = {"at": write(moment_h, "h"), "override": {}, "switches": {}}
    for change in [*same, {"override": override, "switches": switches}]:
        joined["override"] |= change.get("override") or {}
        joined["switches"] |= change.get("switches") or {}
    return [*others, joined]


def branch_mapping(
    resolved: Mapping[str, Any], moment: str, settings: Sequence[str], regimen: str | None, length: str | None,
    arms: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """Return an experiment that is `resolved` until `moment` and changed from then on.

    Parameters
    ----------
    resolved : mapping
        A resolved experiment.
    moment : str
        Time of the change, with its unit.
    settings : sequence of str
        Parameters and switches that hold from then on, as `name=value`.
    regimen : str or None
        Name or file of what is given from then on; what was to be given is not.
    length : str or None
    arms : sequence of str
        Arms to change; all if empty.

    Raises
    ------
    InputError
        The time is outside the run, an arm or regimen is unknown, or a setting concerns the past.
    """
    mapping = copy.deepcopy(dict(resolved))
    moment_h, tick_h = _hours(moment, "--at"), _hours(mapping["time"]["tick"], "time.tick")
    if length is not None:
        mapping["time"]["length"] = length
    length_h = _hours(mapping["time"]["length"], "--length")
    if not is_whole(moment_h / tick_h):
        near = write(max(1, round(moment_h / tick_h)) * tick_h, "h")
        raise InputError(f"--at: '{moment}' is not a whole number of ticks of {write(tick_h, 'h')}; the nearest is {near}")
    if not 0 < moment_h < length_h:
        raise InputError(f"--at: '{moment}' is not inside the run, 0 to {write(length_h, 'h')}")
    for name in arms:
        if name not in mapping["arms"]:
            raise InputError(f"--arm: no arm '{name}'; there is {', '.join(mapping['arms'])}")
    override, switches = _sort_settings(settings)
    for name in arms or mapping["arms"]:
        arm = mapping["arms"][name]
        if override or switches:
            arm["changes"] = _add_change(arm.get("changes", []), moment_h, override, switches)
        if regimen is not None:
            arm["regimen"] = _end_courses(arm["regimen"], moment_h) + _read_courses(regimen, moment_h)
    pictures = mapping["record"].get("pictures", [])
    mapping["record"]["pictures"] = [*(p for p in pictures if _hours(p, "pictures") < length_h), write(length_h, "h")]
    return mapping
