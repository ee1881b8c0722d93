"""Regimens: courses of a drug, and the doses that they come to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from niche_sim.drugs import ROUTES, Array, Drug
from niche_sim.errors import InputError


@dataclass(frozen=True)
class Course:
    """Doses of one drug: a single dose, or one every `interval_h` from `start_h` until before `until_h`.

    None means: no repeat (`interval_h`), to the end of the run (`until_h`), as in the drug's file (others).
    """

    drug: str
    dose_mg: float
    interval_h: float | None = None
    start_h: float = 0.0
    until_h: float | None = None
    route: str | None = None
    infusion_h: float | None = None


class Dose(NamedTuple):
    """One administration, resolved: the drug's route and infusion length are filled in."""

    time_h: float
    drug: str
    dose_mg: float
    route: str
    infusion_h: float


def list_doses(courses: Iterable[Any], drugs: Mapping[str, Drug], end_h: float) -> list[Dose]:
    """Return every dose given before `end_h` (h), in order of time.

    Parameters
    ----------
    courses : iterable of Course
        Anything with the attributes of `Course`.
    drugs : mapping of name to Drug
    end_h : float

    Raises
    ------
    InputError
        An unknown drug, a negative dose, an interval that is not positive, a route that the drug lacks.
    """
    doses: list[Dose] = []
    for course in courses:
        if course.drug not in drugs:
            raise InputError(f"regimen: unknown drug {course.drug!r}; known: {', '.join(sorted(drugs))}")
        drug = drugs[course.drug]
        route, infusion = _delivery(course, drug)
        for time_h in _dose_times(course, end_h):
            doses.append(Dose(float(time_h), course.drug, float(course.dose_mg), route, infusion))
    return sorted(doses)


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


def _dose_times(course: Any, end_h: float) -> Array:
    if not 0 <= course.dose_mg < np.inf:
        raise InputError(f"regimen: a dose of {course.dose_mg} mg is not allowed")
    until = end_h if course.until_h is None else min(end_h, course.until_h)
    if course.interval_h is None:
        return np.array([course.start_h] if course.start_h < until else [])
    if not course.interval_h > 0:
        raise InputError(f"regimen: an interval of {course.interval_h} h is not allowed")
    # The margin keeps start + k * interval == until from slipping in by rounding.
    count = max(0, int(np.ceil((until - course.start_h) / course.interval_h - 1e-9)))
    return course.start_h + course.interval_h * np.arange(count)
