"""Patient files: endocrine state over time, each number with provenance, or driven by a model of bone."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from niche_sim.config.bone_model import drive
from niche_sim.config.numbers import read_number
from niche_sim.config.problems import Path
from niche_sim.config.report import Report
from niche_sim.host import Patient
from niche_sim.parameters import Parameter
from niche_sim.units import convert, quote

KEYS = ["name", "title", "note", "activation_frequency", "bone_balance", "rankl_factor", "oestradiol", "bone_model"]
_NUMBERS = {
    "activation_frequency": ("1/h", ("0 /yr", "5 /yr")),
    "bone_balance": ("", (0.5, 1.2)),
    "rankl_factor": ("", (0.0, 20.0)),
    "oestradiol": ("nmol/L", ("0 pmol/L", "10 nmol/L")),
}
_MOST_TIMES = 1000


@dataclass(frozen=True)
class PatientFile:
    """A patient as the file states it.

    Attributes
    ----------
    name, title : str
    mapping : dict
        The whole file, numbers with unit, range, status, source and note.
    host : niche_sim.host.Patient
        The curves at their common times, in inside units.
    """

    name: str
    title: str
    mapping: dict[str, Any]
    host: Patient


def read_patient(report: Report, path: Path) -> PatientFile | None:
    """Return the patient at a path, or None after noting the mistakes."""
    before = len(report.problems)
    if not report.check_keys(path, KEYS, ["name", *_NUMBERS]):
        return None
    data = report.document.get(path)
    _check_texts(report, path, data)
    curves: dict[str, list[tuple[float, Parameter]]] = {}
    mapping = {key: data[key] for key in KEYS[:3] if key in data}
    for key in _NUMBERS:
        if key in data:
            curves[key] = _read_curve(report, (*path, key))
            mapping[key] = _write_curve(data[key], curves[key])
    if len(report.problems) > before:
        return None
    host = _join(curves)
    if "bone_model" in data:
        limits = {key: (convert(low, unit), convert(high, unit)) for key, (unit, (low, high)) in _NUMBERS.items()}
        host = drive(report, (*path, "bone_model"), host, limits, mapping)
    return PatientFile(data["name"], data.get("title") or "", mapping, host)


def _check_texts(report: Report, path: Path, data: dict[str, Any]) -> None:
    for key in ("name", "title", "note"):
        if key in data and (not isinstance(data[key], str) or len(data[key]) > 5000):
            report.add((*path, key), "type", f"expected a text, not {quote(data[key])}")


def _read_curve(report: Report, path: Path) -> list[tuple[float, Parameter]]:
    """Read one number, or a list of numbers each with the time `from` which it holds."""
    unit, limits = _NUMBERS[str(path[-1])]
    bounds = (convert(limits[0], unit), convert(limits[1], unit))
    data, name = report.document.get(path), f"patient.{path[-1]}"
    if not isinstance(data, list):
        number = read_number(report, path, unit, name, bounds)
        return [(0.0, number)] if number else []
    if not 0 < len(data) <= _MOST_TIMES:
        report.add(path, "range", f"expected 1 to {_MOST_TIMES} times")
    points: list[tuple[float, Parameter]] = []
    last = -1.0
    for i in range(min(len(data), _MOST_TIMES)):
        time_h = _read_time(report, (*path, i), last)
        number = read_number(report, (*path, i), unit, f"{name}.{i}", bounds, ("from",))
        if time_h is not None and number is not None:
            points.append((time_h, number))
        last = last if time_h is None else time_h
    return points


def _read_time(report: Report, path: Path, last: float) -> float | None:
    point = report.document.get(path)
    if not isinstance(point, dict):
        return None
    if "from" not in point:
        report.add((*path, "from"), "missing", "missing: the time from which the value holds, e.g. '0 yr'", key=True)
        return None
    time_h = report.attempt((*path, "from"), "unit", convert, point["from"], "h")
    if time_h is not None and time_h <= last:
        report.add((*path, "from"), "range", "the times must rise from one entry to the next, from 0 on")
        return None
    return time_h


def _write_curve(data: Any, points: list[tuple[float, Parameter]]) -> Any:
    if not isinstance(data, list):
        return points[0][1].plain() if points else {}
    return [{"from": item["from"]} | number.plain() for item, (_, number) in zip(data, points)]


def _join(curves: dict[str, list[tuple[float, Parameter]]]) -> Patient:
    """Return the curves at the union of their times; the host interpolates linearly between."""
    times = sorted({time_h for points in curves.values() for time_h, _ in points})

    def at_times(key: str) -> tuple[float, ...]:
        knots, values = zip(*((time_h, number.value) for time_h, number in curves[key]))
        return tuple(float(value) for value in np.interp(times, knots, values))

    return Patient(
        at_times("activation_frequency"), at_times("bone_balance"), at_times("rankl_factor"), at_times("oestradiol"),
        tuple(times),
    )  # fmt: skip
