"""Bone remodelling without space, by any model of ordinary differential equations in SBML.

`sbml` names a shipped model (`komarova2003`, `lemaire2004`: the two systems of `bone_mean_field`) or a file of yours beside
this one. What is read and what is refused: Levels 2 and 3, reactions, assignment and rate rules, initial assignments,
events; no delays, algebraic rules, fast reactions or packages that change the mathematics; at most 2 MB, 60 s, 4 GB. It
needs the optional extra: `pip install "niche-sim[sbml]"`.

A value in `parameters` or `initial` stands as if the file had it, so initial assignments follow it; a pulse changes only the
parameter. The steady state is searched from the starting values without pulses, at time 0 of the model. Where the rates
leave something open (a bone mass, a sum that is conserved), or nothing is found, the model runs for a hundred times `length`
first.
"""

from typing import Annotated

import pandas as pd
from pydantic import Field

from niche_sim.config.problems import suggest
from niche_sim.config.quantity import flag, quantity, text
from niche_sim.config.sbml import PulseModel, Symbol, TimeUnit, Value, check_about, find_time_unit, list_pulses, open_model
from niche_sim.sbml import Question, find_sbml, read_sbml, solve
from niche_sim.submodels.base import Mistakes, Progress, SubModel, Tables
from niche_sim.submodels.pk import list_times

MODEL = "bone_sbml"
SCHEME = "CVODE (libRoadRunner), relative tolerance 1e-10; steady states by least squares and Newton steps"
DAY = 24.0
_MOST_NUMBERS = 5_000_000

COLUMNS = {
    "course": {
        "time_d": ("d", "time"), "x1": ("cell", "osteoclasts (komarova2003)"), "x2": ("cell", "osteoblasts (komarova2003)"),
        "z": ("dimensionless", "bone mass, % of the start (komarova2003)"),
        "R": ("pmol/litre", "responding osteoblasts (lemaire2004)"), "B": ("pmol/litre", "active osteoblasts (lemaire2004)"),
        "C": ("pmol/litre", "active osteoclasts (lemaire2004)"), "pL": ("dimensionless", "occupancy of RANK (lemaire2004)"),
    },
    "steady_state": {
        "variable": ("name", "variable that the model moves"), "unit": ("name", "its unit as the model has it"),
        "value": ("unit", "steady value"), "residual_per_d": ("unit per d", "rate of change there, 0 at a steady state"),
    },
}  # fmt: skip
"""The course has a column for each variable; these are those of the shipped models."""


class Spec(SubModel):
    """Bone remodelling by a model in SBML."""

    sbml: Annotated[str, text(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", "a shipped model or a file .xml or .sbml beside this", 200)]
    time_unit_h: TimeUnit | None = Field(alias="time_unit", default=None)
    parameters: dict[str, Value] = {}
    initial: dict[str, Value] = {}
    pulses: list[PulseModel] = Field(default=[], max_length=100)
    outputs: list[Symbol] = Field(default=[], max_length=1000)
    steady_state: Annotated[bool, flag()] = True
    length_h: Annotated[float, quantity("0 h", "100 yr", unit="h", above=True)] = Field(alias="length")
    every_h: Annotated[float, quantity("0 h", "100 yr", unit="h", above=True)] = Field(alias="every")

    def list_inputs(self) -> list[str]:
        """Return the names of the files that are read."""
        return [self.sbml] if self.sbml.endswith((".xml", ".sbml")) else []


def check(spec: Spec) -> Mistakes:
    """Return mistakes across keys, and of the model."""
    model, found = open_model(spec.sbml, spec.beside)
    if model is None:
        return found
    found += check_about(model, spec)
    for name in spec.initial:
        if name not in model.states:
            found.append((("initial", name), f"no variable that the model moves{suggest(name, model.states)}"))
    for i, name in enumerate(spec.outputs):
        if name not in model.outputs:
            found.append((("outputs", i), f"no symbol of the model{suggest(name, model.outputs)}"))
    if spec.length_h / spec.every_h * (len(model.states) + len(spec.outputs)) > _MOST_NUMBERS:
        found.append((("every",), f"gives more than {_MOST_NUMBERS:,} numbers; record less often"))
    return found


def describe_columns(spec: Spec) -> dict[str, dict[str, tuple[str, str]]]:
    """Return unit and meaning of each column of the tables of a run."""
    model = read_sbml(find_sbml(spec.sbml, spec.beside))
    course = {"time_d": ("d", "time")} | {n: (s.unit, "variable of the model") for n, s in model.states.items()}
    course |= {name: ("as in the model", "output of the model") for name in spec.outputs if name not in course}
    return {"course": course, "steady_state": COLUMNS["steady_state"]}


def run(spec: Spec, progress: Progress) -> Tables:
    """Return the course, and the steady state unless it is not wanted."""
    model = read_sbml(find_sbml(spec.sbml, spec.beside))
    unit_h = find_time_unit(model, spec.time_unit_h)
    assert unit_h is not None
    names = tuple(dict.fromkeys([*model.states, *spec.outputs]))
    times = list_times(spec.length_h, spec.every_h)
    question = Question(
        tuple(times.tolist()), names, unit_h, spec.parameters, spec.initial, list_pulses(spec), steady=spec.steady_state
    )
    answer = solve(model, question)
    progress(1.0)
    tables = {"course": pd.DataFrame({"time_d": times / DAY} | dict(zip(names, answer.course.T)))}
    if answer.steady is not None and answer.rates_h is not None:
        tables["steady_state"] = pd.DataFrame({
            "variable": list(model.states), "unit": [state.unit for state in model.states.values()], "value": answer.steady,
            "residual_per_d": answer.rates_h * DAY,
        })  # fmt: skip
    return tables
