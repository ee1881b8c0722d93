"""From concentration to survival: the same pharmacokinetics drive a kill hazard on a population of cells.

    d ln N / dt = growth - k(C)
    k = slope C (linear),  k_max C^n / (C^n + half^n) (hill),  k_max where C >= threshold, else 0 (threshold)

N is the expected number. With linear kill the integral is slope x AUC, exactly; otherwise it is taken by Gauss-Legendre
quadrature between dose events and crossings of the threshold, on pieces cut finer until they agree to 1e-10.
"""

from itertools import pairwise
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field, model_validator
from scipy.linalg import expm
from scipy.optimize import brentq

from niche_sim.config.quantity import choice, quantity, refuse, whole
from niche_sim.config.schema import Strict
from niche_sim.pharmacokinetics import CENTRAL, follow, generator
from niche_sim.regimens import list_doses
from niche_sim.submodels.base import Mistakes, Progress, SubModel, Tables
from niche_sim.submodels.pk import DoseModel, KineticsModel, Solution, check_doses, list_times, solve

MODEL = "kill"
SCHEME = "exact concentration; Gauss-Legendre quadrature of the kill hazard between events, refined to 1e-10"
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)
_CONCENTRATION = quantity("0 nmol/L", "1e12 nmol/L", unit="nmol/L", above=True)

COLUMNS = {
    "survival": {
        "time_h": ("h", "time"), "concentration_nmol_per_L": ("nmol/L", "in the centre"),
        "kill_hazard_per_h": ("1/h", "k(C)"), "log_survival": ("1", "natural logarithm of N / N(0)"),
        "cells": ("cells", "expected number"), "all_dead": ("1", "probability that no cell is left; without growth only"),
    },
    "summary": {
        "quantity": ("name", "what"), "value": ("1", "its value, in the unit beside it"), "unit": ("name", "unit"),
    },
}  # fmt: skip


class KillModel(Strict):
    """The law of killing; concentrations are those of the centre."""

    law: Annotated[str, choice("linear", "hill", "threshold")]
    slope: Annotated[float, quantity("0 L/nmol/h", "1e9 L/nmol/h", unit="L/nmol/h")] | None = None
    kmax_h: Annotated[float, quantity("0 /h", "1e6 /h", unit="1/h")] | None = Field(default=None, alias="kmax")
    half: Annotated[float, _CONCENTRATION] | None = None
    exponent: Annotated[float, quantity(0.1, 20.0)] = 1.0
    threshold: Annotated[float, _CONCENTRATION] | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> "KillModel":
        needs = {"linear": ("slope",), "hill": ("kmax_h", "half"), "threshold": ("kmax_h", "threshold")}[self.law]
        missing = [name.removesuffix("_h") for name in needs if getattr(self, name) is None]
        if missing:
            raise refuse("missing", f"law {self.law} needs {' and '.join(missing)}")
        return self

    def hazard(self, concentration: np.ndarray) -> np.ndarray:
        """Return the kill hazard (1/h) at concentrations (nmol/L)."""
        c = np.maximum(concentration, 0.0)
        if self.law == "linear":
            return (self.slope or 0.0) * c
        if self.law == "threshold":
            return np.where(c >= (self.threshold or 0.0), self.kmax_h or 0.0, 0.0)
        ratio = (c / (self.half or 1.0)) ** self.exponent
        return (self.kmax_h or 0.0) * ratio / (1.0 + ratio)


class Spec(SubModel):
    """Survival of cells under a drug."""

    kinetics: KineticsModel
    doses: list[DoseModel] = Field(min_length=1, max_length=1000)
    kill: KillModel
    growth_h: Annotated[float, quantity("-10 /h", "10 /h", unit="1/h")] = Field(alias="growth", default=0.0)
    cells: Annotated[int, whole(1, 10**15)] = 1_000_000
    length_h: Annotated[float, quantity("0 h", "100 yr", unit="h", above=True)] = Field(alias="length")
    every_h: Annotated[float, quantity("0 h", "100 yr", unit="h", above=True)] = Field(alias="every")


def check(spec: Spec) -> Mistakes:
    """Return mistakes across keys."""
    return check_doses(spec.kinetics, spec.doses, spec.length_h, spec.every_h)


def _list_events(solution: Solution, end_h: float) -> np.ndarray:
    doses = list_doses(solution.courses, {"drug": solution.drug}, end_h)
    times = [0.0, end_h]
    for dose in doses:
        times += [dose.time_h, dose.time_h + dose.infusion_h]
    return np.unique([t for t in times if t <= end_h])


def _integrate_pieces(spec: Spec, solution: Solution, edges: np.ndarray) -> np.ndarray:
    """Return the integral of the hazard over each piece between `edges`; no event lies inside a piece.

    Each piece is cut geometrically, finer after its start where a dose may just have been given; pieces of one length share
    their propagators. The cuts are doubled until no piece changes by more than a relative 1e-10.
    """
    doses = list_doses(solution.courses, {"drug": solution.drug}, float(edges[-1]))
    path = follow(solution.drug, doses, edges)
    start = np.searchsorted(path.breaks, edges[:-1])
    lengths, which = np.unique(np.round(np.diff(edges), 9), return_inverse=True)
    total = np.zeros(len(edges) - 1)
    for i, length in enumerate(lengths):
        rows = np.flatnonzero(which == i)
        moving, before = path.moving[start[rows]], np.full(len(rows), np.inf)
        for cuts in (8, 16, 32, 64):
            now = _gauss(spec, solution, moving, length, cuts)
            if (np.abs(now - before) <= 1e-10 * np.abs(now) + 1e-300).all():
                break
            before = now
        total[rows] = now
    return total


def _gauss(spec: Spec, solution: Solution, moving: np.ndarray, length: float, cuts: int) -> np.ndarray:
    """Return the integral over pieces of one length that begin with amounts `moving`, shape (pieces, states)."""
    ends = np.concatenate([[0.0], length * 2.0 ** np.linspace(-20.0, 0.0, cuts)])
    matrix, n = generator(solution.drug), moving.shape[1]
    total = np.zeros(len(moving))
    for a, b in pairwise(ends):
        for node, weight in zip(_NODES, _WEIGHTS):
            to_centre = expm(matrix * (0.5 * (a + b) + 0.5 * (b - a) * node))[CENTRAL, :n]
            level = moving @ to_centre / solution.drug.central_volume
            total += 0.5 * (b - a) * weight * spec.kill.hazard(level)
    return total


def _excess(time_h: float, spec: Spec, solution: Solution) -> float:
    return float(solution.at([time_h])["concentration"][0]) - (spec.kill.threshold or 0.0)


def _split_at_threshold(spec: Spec, solution: Solution, edges: np.ndarray) -> np.ndarray:
    """Add the times at which the concentration crosses the threshold: there the hazard jumps."""
    if spec.kill.law != "threshold" or spec.kill.threshold is None:
        return edges
    crossings = []
    for a, b in pairwise(edges):
        grid = np.linspace(a, b, 65)[1:]
        grid = np.concatenate([[a + 1e-9 * (b - a)], grid[:-1], [b - 1e-9 * (b - a)]])
        above = solution.at(grid)["concentration"] - spec.kill.threshold
        for i in np.flatnonzero(np.sign(above[:-1]) * np.sign(above[1:]) < 0):
            crossings.append(brentq(_excess, grid[i], grid[i + 1], (spec, solution), xtol=1e-13))
    return np.unique(np.concatenate([edges, crossings])) if crossings else edges


def integrate_kill(spec: Spec, solution: Solution, times: np.ndarray) -> np.ndarray:
    """Return the integral of the kill hazard from 0 to each of `times` (h)."""
    if spec.kill.law == "linear":
        return (spec.kill.slope or 0.0) * solution.at(times)["exposure"]
    edges = np.unique(np.concatenate([_list_events(solution, float(times[-1])), times]))
    edges = _split_at_threshold(spec, solution, edges)
    if spec.kill.law == "threshold":
        middle = solution.at(0.5 * (edges[:-1] + edges[1:]))["concentration"]
        parts = spec.kill.hazard(middle) * np.diff(edges)
    else:
        parts = _integrate_pieces(spec, solution, edges)
    total = np.concatenate([[0.0], np.cumsum(parts)])
    return total[np.searchsorted(edges, times)]


def run(spec: Spec, progress: Progress) -> Tables:
    """Return survival over time and a summary."""
    solution = solve(spec.kinetics, spec.doses, spec.length_h)
    times = list_times(spec.length_h, spec.every_h)
    level = solution.at(times)["concentration"]
    killed = integrate_kill(spec, solution, times)
    log_survival = spec.growth_h * times - killed
    survival = np.exp(log_survival)
    no_growth = spec.growth_h == 0.0
    dead = np.exp(spec.cells * np.log1p(-np.minimum(survival, 1.0 - 1e-16)))
    all_dead = dead if no_growth else np.full(len(times), np.nan)
    frame = pd.DataFrame({
        "time_h": times, "concentration_nmol_per_L": level, "kill_hazard_per_h": spec.kill.hazard(level),
        "log_survival": log_survival, "cells": spec.cells * survival, "all_dead": all_dead,
    })  # fmt: skip
    progress(1.0)
    lowest = int(log_survival.argmin())
    rows = [
        ("log10_kill_at_end", float(killed[-1] / np.log(10.0)), "1"),
        ("lowest_cells_recorded", float(spec.cells * survival[lowest]), "cells"),
        ("time_of_lowest_recorded", float(times[lowest]), "h"),
        ("cells_at_end", float(spec.cells * survival[-1]), "cells"),
    ]
    return {"survival": frame, "summary": pd.DataFrame(rows, columns=["quantity", "value", "unit"])}
