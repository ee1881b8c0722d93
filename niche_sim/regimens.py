"""Regimens: courses of a drug, and the doses that they come to."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from niche_sim.drugs import ROUTES, Array, Drug
from niche_sim.errors import InputError
from niche_sim.kinds import S_ADHERENCE

_MINUTES_PER_H = 60.0


@dataclass(frozen=True)
class Course:
    """Doses of one drug: a single dose, or one every `interval_h` from `start_h` until before `until_h` or `doses` of them.

    With `cycle_h` these `doses` begin again every `cycle_h`, until before `until_h`.
    None means: no repeat (`interval_h`), to the end of the run (`until_h`, `doses`), as in the drug's file (others).
    A scheduled dose is taken with probability `adherence`, unless its number (from 1) is in `missed`.
    """

    drug: str
    dose_mg: float
    interval_h: float | None = None
    start_h: float = 0.0
    until_h: float | None = None
    route: str | None = None
    infusion_h: float | None = None
    doses: int | None = None
    cycle_h: float | None = None
    adherence: float = 1.0
    missed: tuple[int, ...] = ()


class Dose(NamedTuple):
    """One administration, resolved: the drug's route and infusion length are filled in."""

    time_h: float
    drug: str
    dose_mg: float
    route: str
    infusion_h: float


def list_doses(courses: Iterable[Any], drugs: Mapping[str, Drug], end_h: float, key: Any = 0) -> list[Dose]:
    """Return every dose taken before `end_h` (h), in order of time; parameters as in `schedule_doses`."""
    return [dose for dose, taken in schedule_doses(courses, drugs, end_h, key) if taken]


def schedule_doses(
    courses: Iterable[Any], drugs: Mapping[str, Drug], end_h: float, key: Any = 0
) -> list[tuple[Dose, bool]]:
    """Return every dose due before `end_h` (h), in order of time, and whether it is taken.

    Parameters
    ----------
    courses : iterable of Course
        Anything with the attributes of `Course`.
    drugs : mapping of name to Drug
    end_h : float
    key : uint64
        Key of the run (`niche_sim.draws.run_key`), for courses whose adherence is below 1. The address of a draw is the
        drug and the minute at which the dose is due: arms share it, and other courses do not change it.

    Raises
    ------
    InputError
        An unknown drug, a negative dose, an interval that is not positive, a route that the drug lacks, an adherence that
        is not between 0 and 1.
    """
    doses: list[tuple[Dose, bool]] = []
    for course in courses:
        if course.drug not in drugs:
            raise InputError(f"regimen: unknown drug {course.drug!r}; known: {', '.join(sorted(drugs))}")
        drug = drugs[course.drug]
        route, infusion = _delivery(course, drug)
        for number, time_h in enumerate(find_dose_times(course, end_h), start=1):
            dose = Dose(float(time_h), course.drug, float(course.dose_mg), route, infusion)
            doses.append((dose, number not in course.missed and _is_taken(dose, course.adherence, key)))
    return sorted(doses)


def _is_taken(dose: Dose, adherence: float, key: Any) -> bool:
    """Whether a dose is taken that is taken with probability `adherence`."""
    if adherence == 1.0:
        return True
    from niche_sim.draws import uniform  # slow to load, and a file is checked without it

    identity = np.uint64(int.from_bytes(hashlib.blake2b(dose.drug.encode(), digest_size=8).digest(), "little"))
    minute = round(dose.time_h * _MINUTES_PER_H)
    return bool(uniform(np.uint64(key), identity, minute, S_ADHERENCE) < adherence)


def _delivery(course: Any, drug: Drug) -> tuple[str, float]:
    route = course.route if course.route is not None else drug.route
    if route not in ROUTES:
        raise InputError(f"regimen: unknown route {route!r}; known: {', '.join(ROUTES)}")
    if route != "iv" and drug.has_kinetics and drug.absorption_rate <= 0:
        raise InputError(f"regimen: {drug.name} has no absorption_rate, so it cannot be given {route}")
    infusion = course.infusion_h if course.infusion_h is not None else drug.infusion_h
    if not 0 <= infusion < np.inf:
        raise InputError(f"regimen: an infusion of {infusion} h is not allowed")
    return route, float(infusion) if route == "iv" else 0.0


def find_dose_times(course: Any, end_h: float) -> Array:
    """Return when the doses of a course are due before `end_h` (h), taken or not.

    Raises
    ------
    InputError
        As `schedule_doses` does.
    """
    if not 0 <= course.dose_mg < np.inf:
        raise InputError(f"regimen: a dose of {course.dose_mg} mg is not allowed")
    if not 0 <= course.adherence <= 1:
        raise InputError(f"regimen: an adherence of {course.adherence} is not between 0 and 1")
    if course.doses is not None and (course.doses < 1 or (course.until_h is not None and course.cycle_h is None)):
        raise InputError(f"regimen: {course.doses} doses; give at least 1, and not `until` beside it")
    until = end_h if course.until_h is None else min(end_h, course.until_h)
    if course.cycle_h is not None:
        return _cycle_times(course, until)
    if course.interval_h is None:
        if course.doses not in (None, 1):
            raise InputError(f"regimen: {course.doses} doses need an interval")
        return np.array([course.start_h] if course.start_h < until else [])
    if not course.interval_h > 0:
        raise InputError(f"regimen: an interval of {course.interval_h} h is not allowed")
    # The margin keeps start + k * interval == until from slipping in by rounding.
    count = max(0, int(np.ceil((until - course.start_h) / course.interval_h - 1e-9)))
    return course.start_h + course.interval_h * np.arange(count if course.doses is None else min(count, course.doses))


def _cycle_times(course: Any, until: float) -> Array:
    if course.interval_h is None or course.doses is None or course.doses * course.interval_h > course.cycle_h * (1 + 1e-9):
        raise InputError("regimen: a cycle needs an interval and a number of doses that fit into it")
    starts = np.arange(course.start_h, until - 1e-9, course.cycle_h)
    times = (starts[:, None] + course.interval_h * np.arange(course.doses)).ravel()
    return times[times < until - 1e-9]
