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
from niche_sim.drugs import Drug
from niche_sim.pharmacokinetics import CENTRAL, follow, generator
from niche_sim.regimens import list_doses
from niche_sim.submodels.base import Mistakes, Progress, SubModel, Tables
from niche_sim.submodels.pk import DoseModel, KineticsModel, Solution, check_doses, list_times, solve

MODEL = "kill"
SCHEME = "exact concentration; Gauss-Legendre quadrature of the kill hazard between events, refined to 1e-10"
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)
_WELL_CONDITIONED = 1e5  # of the eigenvectors: ten digits are left
_PIECES_AT_ONCE = 8192
_MOST_LOG = 700.0
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
        with np.errstate(divide="ignore", over="ignore"):  # no drug, and far below the half effect: no kill
            inverse = ((self.half or 1.0) / c) ** self.exponent
        return (self.kmax_h or 0.0) / (1.0 + inverse)


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
    found = check_doses(spec.kinetics, spec.doses, spec.length_h, spec.every_h)
    if spec.growth_h * spec.length_h + np.log(spec.cells) > _MOST_LOG:
        found.append((("growth",), "gives more cells than a number can hold; run for less time"))
    return found


def _list_events(solution: Solution, end_h: float) -> np.ndarray:
    doses = list_doses(solution.courses, {"drug": solution.drug}, end_h)
    times = [0.0, end_h]
    for dose in doses:
        times += [dose.time_h, dose.time_h + dose.infusion_h]
    return np.unique([t for t in times if t <= end_h])


def _watch_centre(drug: Drug, times: np.ndarray) -> np.ndarray:
    """Return rows, shape (t, moving states), that give the amount in the centre `times` (h) after known amounts."""
    n = 3 + len(drug.peripheral)
    matrix = generator(drug)[:n, :n]
    values, vectors = np.linalg.eig(matrix)
    if np.linalg.cond(vectors) < _WELL_CONDITIONED:
        return ((np.exp(np.outer(times, values)) * vectors[CENTRAL]) @ np.linalg.inv(vectors)).real
    return np.array([expm(matrix * time)[CENTRAL] for time in times])  # two equal rates: no full set of eigenvectors


def _integrate_pieces(spec: Spec, solution: Solution, edges: np.ndarray) -> np.ndarray:
    """Return the integral of the hazard over each piece between `edges`; no event lies inside a piece.

    Each piece is cut geometrically, finer after its start where a dose may just have been given; pieces of one length share
    their propagators. The cuts are doubled until no piece changes by more than a relative 1e-10.
    """
    doses = list_doses(solution.courses, {"drug": solution.drug}, float(edges[-1]))
    path = follow(solution.drug, doses, edges)
    start, exact = np.searchsorted(path.breaks, edges[:-1]), np.diff(edges)
    lengths, which = np.unique(np.round(exact, 9), return_inverse=True)
    total = np.zeros(len(edges) - 1)
    for i, length in enumerate(lengths):
        for rows in np.array_split(np.flatnonzero(which == i), 1 + (which == i).sum() // _PIECES_AT_ONCE):
            moving, before = path.moving[start[rows]], np.full(len(rows), np.inf)
            for cuts in (8, 16, 32, 64):
                now = _gauss(spec, solution, moving, float(length or exact[rows[0]]), cuts)
                if (np.abs(now - before) <= 1e-10 * np.abs(now) + 1e-300).all():
                    break
                before = now
            total[rows] = now
    return total * np.where(lengths[which] > 0, exact / np.where(lengths[which] > 0, lengths[which], 1.0), 1.0)


def _gauss(spec: Spec, solution: Solution, moving: np.ndarray, length: float, cuts: int) -> np.ndarray:
    """Return the integral over pieces of one length that begin with amounts `moving`, shape (pieces, states)."""
    ends = np.concatenate([[0.0], length * 2.0 ** np.linspace(-20.0, 0.0, cuts)])
    half = 0.5 * np.diff(ends)[:, None]
    times, weights = (ends[:-1, None] + half * (1.0 + _NODES)).ravel(), (half * _WEIGHTS).ravel()
    level = moving @ _watch_centre(solution.drug, times).T / solution.drug.central_volume
    return spec.kill.hazard(level) @ weights


def _list_crossings(spec: Spec, solution: Solution, end_h: float) -> list[float]:
    """Return the times at which the concentration crosses the threshold.

    Between events it is a sum of few exponentials: a grid that is geometric from a fraction of the fastest of their times
    on, whatever the recorded times, meets every rise and fall.
    """
    drug, events = solution.drug, _list_events(solution, end_h)
    path = follow(drug, list_doses(solution.courses, {"drug": drug}, end_h), events)
    n = 3 + len(drug.peripheral)
    fastest = np.abs(np.linalg.eigvals(generator(drug)[:n, :n])).max() + 1.0 / end_h
    crossings = []
    for a, b in pairwise(events):
        moving = path.moving[np.searchsorted(path.breaks, a)] / drug.central_volume
        first = min(1e-4 / fastest, 0.5 * (b - a))
        grid = np.unique(np.concatenate([[0.0], np.geomspace(first, b - a, 400), np.linspace(0.0, b - a, 65)]))
        excess = _watch_centre(drug, grid) @ moving - (spec.kill.threshold or 0.0)
        for i in np.flatnonzero(np.sign(excess[:-1]) * np.sign(excess[1:]) < 0):
            inside = (drug, moving, spec.kill.threshold)
            crossings.append(a + brentq(_find_excess, grid[i], grid[i + 1], inside, xtol=1e-13))
    return crossings


def _find_excess(time: float, drug: Drug, moving: np.ndarray, threshold: float) -> float:
    return float((_watch_centre(drug, np.array([time])) @ moving)[0]) - threshold


def integrate_kill(spec: Spec, solution: Solution, times: np.ndarray) -> np.ndarray:
    """Return the integral of the kill hazard from 0 to each of `times` (h)."""
    if spec.kill.law == "linear":
        return (spec.kill.slope or 0.0) * solution.at(times)["exposure"]
    edges = np.unique(np.concatenate([_list_events(solution, float(times[-1])), times]))
    if spec.kill.law == "threshold":
        edges = np.unique(np.concatenate([edges, _list_crossings(spec, solution, float(times[-1]))]))
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
