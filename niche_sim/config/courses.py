"""Courses as a file writes them, cut at a moment: what was given by then, and what is still to be given."""

import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path as FilePath
from typing import Any

from niche_sim.config.library import find_file
from niche_sim.config.reader import read_document
from niche_sim.config.schema import CourseModel
from niche_sim.errors import InputError
from niche_sim.regimens import find_dose_times
from niche_sim.units import convert, split, write

Written = dict[str, Any]
"""A course with the keys and units of its file."""


def read_hours(text: Any, where: str) -> float:
    """Return a time in hours; `where` begins the message if it is none."""
    try:
        return convert(text, "h")
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def tidy_time(text: str) -> str:
    """Return a time in hours as days or minutes where it is a short number of them; any other text as it is."""
    try:
        number, unit = split(text)
    except InputError:
        return text
    size, name = (Fraction(24), "d") if number >= 24 else (Fraction(1, 60), "min")
    if unit != "h" or number == 0 or 1 <= number < 24 or number / size * 4 % 1:
        return text
    return f"{float(number / size):.15g} {name}"


def _read(course: Mapping[str, Any]) -> Any:
    return CourseModel.model_validate(course)


def _number_missed(course: Mapping[str, Any], first: int, last: int | None = None) -> Written:
    """Return `missed` of the doses numbered `first` to `last`, counted from `first` as 1; nothing if there are none."""
    kept = [n - first + 1 for n in course.get("missed", ()) if first <= n and (last is None or n <= last)]
    return {"missed": kept} if kept else {}


def end_courses(courses: Sequence[Mapping[str, Any]], moment_h: float) -> list[Written]:
    """Return what of sound courses is given before a time; a dose exactly then is not."""
    kept = []
    for course in courses:
        model = _read(course)
        given = len(find_dose_times(model, moment_h))
        if not given:
            continue
        ended = dict(course)
        if model.interval_h is not None and given != (model.doses if model.cycle_h is None else None):
            until_h = moment_h if model.until_h is None else min(moment_h, model.until_h)
            ended = {key: value for key, value in course.items() if key not in ("until", "missed")}
            ended |= {"until": write(until_h, "h")} | _number_missed(course, 1, given)
            if model.cycle_h is None:
                ended.pop("doses", None)  # `until` replaces it
        kept.append(ended)
    return kept


def begin_courses(courses: Sequence[Mapping[str, Any]], moment_h: float, length_h: float) -> list[Written]:
    """Return what of sound courses is given from a time on, before the end of the run, their missed doses numbered anew."""
    left: list[Written] = []
    for course in courses:
        model = _read(course)
        given = len(find_dose_times(model, moment_h))
        if not given:
            left.append(dict(course))
        elif model.cycle_h is not None:
            left += _begin_cycle(course, model, given)
        elif model.interval_h is not None and given != model.doses:
            rest = dict(course) | {"start": write(model.start_h + given * model.interval_h, "h")}
            rest.pop("missed", None)
            rest |= {"doses": model.doses - given} if model.doses is not None else {}
            left.append(rest | _number_missed(course, given + 1))
    return [course for course in left if _starts_before(course, length_h)]


def _begin_cycle(course: Mapping[str, Any], model: Any, given: int) -> list[Written]:
    """Return the rest of the cycle that has begun, as a course of its own, and the cycles after it."""
    cycles, within = divmod(given, model.doses)
    plain = {key: value for key, value in course.items() if key not in ("missed", "start")}
    left: list[Written] = []
    if within:
        start_h = model.start_h + cycles * model.cycle_h + within * model.interval_h
        end_h = min(model.start_h + (cycles + 1) * model.cycle_h, model.until_h or float("inf"))
        doses = min(model.doses - within, len(find_dose_times(_read({**plain, "start": write(start_h, "h")}), end_h)))
        rest = {key: value for key, value in plain.items() if key not in ("cycle", "until")}
        rest |= {"start": write(start_h, "h"), "doses": doses}
        left += [rest | _number_missed(course, given + 1, given + doses)] if doses else []
        cycles, given = cycles + 1, (cycles + 1) * model.doses
    next_cycle = plain | {"start": write(model.start_h + cycles * model.cycle_h, "h")}
    return [*left, next_cycle | _number_missed(course, given + 1)]


def _starts_before(course: Mapping[str, Any], length_h: float) -> bool:
    """Whether a course gives a dose before the end of the run."""
    return len(find_dose_times(_read(course), length_h)) > 0


def move_courses(courses: Sequence[Mapping[str, Any]], moment_h: float) -> list[Written]:
    """Return courses whose time 0 is put at `moment_h`."""
    moved = []
    for course in courses:
        shifted = dict(course) | {"start": write(moment_h + read_hours(course.get("start", "0 h"), "start"), "h")}
        if "until" in course:
            shifted["until"] = write(moment_h + read_hours(course["until"], "until"), "h")
        moved.append(shifted)
    return moved


def read_regimen(regimen: str) -> list[Written]:
    """Return the courses of a regimen's file, as written.

    Raises
    ------
    InputError
        There is no such regimen, or its file holds no courses.
    """
    data = read_document(os.fspath(find_file("regimens", regimen, FilePath()))).data
    courses = data.get("courses") if isinstance(data, dict) else data
    if not isinstance(courses, list) or not all(isinstance(course, dict) for course in courses):
        raise InputError(f"{regimen}: expected a regimen: courses: [{{drug: ..., dose: ...}}]")
    return courses
