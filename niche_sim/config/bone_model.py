"""A patient's bone by a model in SBML: what it does to activation frequency and bone balance, day by day.

The model is solved once, from its steady state (or the state of its file), while pulses change its parameters: a menopause,
a course of parathyroid hormone. The value of `activation` (osteoclasts, say) relative to that at the start multiplies the
patient's activation frequency, that of `balance` her bone balance.
"""

from dataclasses import fields, replace
from pathlib import Path as FilePath
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from niche_sim.config.problems import Path, suggest
from niche_sim.config.quantity import choice, quantity, text
from niche_sim.config.report import Report
from niche_sim.config.sbml import PulseModel, Symbol, TimeUnit, Value, check_about, find_time_unit, list_pulses, open_model
from niche_sim.config.schema import Note, Strict
from niche_sim.errors import InputError, NumericalError
from niche_sim.host import Patient
from niche_sim.sbml import Model, Question, find_sbml, solve
from niche_sim.units import quote

DAY = 24.0  # h; between two samples


class BoneModel(Strict):
    """A model of bone remodelling that drives the host."""

    sbml: Annotated[str, text(r"[^\n]+", "a shipped model or the path of a file .xml or .sbml", 1000)]
    sha256: Annotated[str, text(r"[0-9a-f]{64}", "the SHA-256 of the file")] | None = None
    activation: Symbol
    balance: Symbol | None = None
    start: Annotated[str, choice("steady", "file")] = "steady"
    time_unit_h: TimeUnit | None = Field(alias="time_unit", default=None)
    parameters: dict[str, Value] = {}
    pulses: list[PulseModel] = Field(default=[], max_length=100)
    length_h: Annotated[float, quantity("1 d", "100 yr", unit="h")] = Field(alias="length")
    note: Note = ""


def drive(
    report: Report, path: Path, host: Patient, limits: dict[str, tuple[float, float]], mapping: dict[str, Any]
) -> Patient:
    """Return the patient as the model at a path drives her; mistakes are noted, and the group enters the mapping.

    Parameters
    ----------
    report : Report
    path : tuple
    host : Patient
        As the rest of the file states her.
    limits : dict of key to (float, float)
        What activation_frequency (1/h) and bone_balance may be.
    mapping : dict
        The file as it is kept; changed in place.
    """
    spec = report.check_model(BoneModel, path)
    if spec is None:
        return host
    beside = FilePath(report.document.place((*path, "sbml")).file).parent
    model, mistakes = open_model(spec.sbml, beside)
    if model is not None:
        mistakes += check_about(model, spec) + _check_outputs(model, spec)
    for where, message in mistakes:
        report.add((*path, *where), "value", message)
    if model is None or mistakes:
        return host
    written = dict(report.document.get(path)) | {"sha256": model.digest}
    if spec.sbml.endswith((".xml", ".sbml")):
        written["sbml"] = str(find_sbml(spec.sbml, beside).resolve())
    mapping["bone_model"] = written
    try:
        driven = _multiply(host, *_follow(model, _ask(model, spec)))
    except (InputError, NumericalError) as error:
        report.add((*path, "sbml"), "value", str(error))
        return host
    _check_limits(report, path, driven, limits)
    return driven


def _check_outputs(model: Model, spec: BoneModel) -> list[tuple[tuple[str | int, ...], str]]:
    found: list[tuple[tuple[str | int, ...], str]] = []
    for key in ("activation", "balance"):
        name = getattr(spec, key)
        if name is not None and name not in model.outputs:
            found.append(((key,), f"no symbol of the model{suggest(name, model.outputs)}"))
    if spec.sha256 is not None and spec.sha256 != model.digest:
        found.append((("sha256",), f"{quote(spec.sbml)} has another SHA-256; take this key out to use it"))
    return found


def _ask(model: Model, spec: BoneModel) -> Question:
    unit_h = find_time_unit(model, spec.time_unit_h)
    assert unit_h is not None
    times = np.unique(np.append(np.arange(0.0, spec.length_h, DAY), spec.length_h))
    outputs = tuple(name for name in (spec.activation, spec.balance) if name is not None)
    return Question(
        tuple(times.tolist()), outputs, unit_h, spec.parameters, pulses=list_pulses(spec), from_rest=spec.start == "steady"
    )


def _follow(model: Model, question: Question) -> tuple[np.ndarray, np.ndarray]:
    """Return the times (h) and what is asked for, relative to its value at the start, shape (times, outputs)."""
    course = solve(model, question).course
    for name, values in zip(question.outputs, course.T):
        if not values[0] > 0.0 or not (values >= 0.0).all():
            worst = values[0] if not values[0] > 0.0 else values.min()
            raise InputError(f"{quote(name)} becomes {worst:.4g}; expected above 0 at the start, then never below")
    return np.array(question.times_h), course / course[0]


def _multiply(host: Patient, times_h: np.ndarray, ratios: np.ndarray) -> Patient:
    """Return the patient with activation, and bone balance if it is driven, times the ratios."""
    knots = np.union1d(times_h, host.times_h)

    def at_knots(curve: tuple[float, ...]) -> np.ndarray:
        return np.interp(knots, host.times_h, curve)

    share = [np.interp(knots, times_h, column) for column in ratios.T]
    curves = {f.name: at_knots(getattr(host, f.name)) for f in fields(host) if f.name != "times_h"}
    curves["activation"] = curves["activation"] * share[0]
    if len(share) > 1:
        curves["bone_balance"] = curves["bone_balance"] * share[1]
    return replace(host, times_h=tuple(knots.tolist()), **{name: tuple(curve.tolist()) for name, curve in curves.items()})


def _check_limits(report: Report, path: Path, host: Patient, limits: dict[str, tuple[float, float]]) -> None:
    driven = {"activation_frequency": ("activation", host.activation), "bone_balance": ("balance", host.bone_balance)}
    for key, (name, curve) in driven.items():
        low, high = limits[key]
        beyond = [(time, value) for time, value in zip(host.times_h, curve) if not low <= value <= high]
        if beyond:
            time, value = beyond[0]
            words = f"drives {key} to {value:.4g} at {time / DAY:.4g} d; possible is {low:.4g} to {high:.4g}"
            report.add((*path, name), "range", words, key=name not in report.document.get(path))
