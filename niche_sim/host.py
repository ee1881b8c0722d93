"""The patient around the niche: what her body does to it in each tick, from endocrine state and drugs.

Inside units: h, nmol/L, fmol/um2.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from niche_sim.drugs import Array, Drug
from niche_sim.errors import InputError
from niche_sim.pharmacokinetics import Trajectory, follow, mean_response, sum_over_ticks
from niche_sim.regimens import Dose, list_doses

_FMOL_PER_NMOL = 1e6
_GAMMA_DELTA_STEP_H = 1.0  # longest step of the gamma-delta activity, whatever the tick


@dataclass(frozen=True)
class Patient:
    """Endocrine state over time: piecewise linear between `times_h`, constant outside them.

    `activation` is the activation frequency (1/h), `bone_balance` the refilled share of a cavity,
    `rankl_factor` multiplies RANKL secretion. All tuples have one entry per time.
    """

    activation: tuple[float, ...]
    bone_balance: tuple[float, ...] = (1.0,)
    rankl_factor: tuple[float, ...] = (1.0,)
    times_h: tuple[float, ...] = (0.0,)


class Forcing(NamedTuple):
    """What the host does to the niche in each tick (first axis: ticks; float64, C-contiguous)."""

    uptake: Array  # (n_steps, n_drugs) fmol per um2 of bone surface deposited in the tick
    plasma: Array  # (n_steps, n_drugs) mean free plasma concentration, nmol/L
    gamma_delta: Array  # (n_steps,) mean activity of gamma-delta T cells, 0-1
    rankl_block: Array  # (n_steps,) mean share of RANKL neutralised, 0-1
    chemotherapy: Array  # (n_steps,) mean kill hazard on fully exposed cycling cells, 1/h
    activation: Array  # (n_steps,) activation frequency, 1/h
    bone_balance: Array  # (n_steps,)
    rankl_factor: Array  # (n_steps,)


class _GammaDelta:
    """Activity A of gamma-delta T cells: dA/dt = sum_i r_i H(C_i) (ceiling - A) - A / decay_time, A(0) = 0.

    Solved exactly for the mean drive of steps that divide a tick; with several drugs the highest ceiling and
    the longest decay time hold.
    """

    def __init__(self, ticks: Array) -> None:
        self.parts = max(1, int(np.ceil((ticks[1] - ticks[0]) / _GAMMA_DELTA_STEP_H - 1e-9)))
        share = np.arange(self.parts) / self.parts
        inner = ticks[:-1, None] + np.diff(ticks)[:, None] * share
        self.edges: Array = np.append(inner.ravel(), ticks[-1])
        self.drive: Array = np.zeros(self.edges.size - 1)
        self.ceiling, self.decay_time = 0.0, 0.0

    def add(self, drug: Drug, course: Trajectory) -> None:
        """Let one drug, followed over `edges`, drive the activity."""
        response = mean_response(drug, course, self.edges, drug.gamma_delta_ec50)
        self.drive += drug.gamma_delta_max_rate * response
        self.ceiling = max(self.ceiling, drug.gamma_delta_max_activity)
        self.decay_time = max(self.decay_time, drug.gamma_delta_decay_time)

    def means(self) -> Array:
        """Return the mean activity of each tick, 0-1."""
        mean = np.zeros(self.drive.size)
        if self.drive.any():
            step = self.edges[1] - self.edges[0]
            rate = self.drive + 1.0 / self.decay_time
            goal, fade = self.ceiling * self.drive / rate, np.exp(-rate * step)
            lag = (1.0 - fade) / (rate * step)
            activity = 0.0
            for i in range(mean.size):
                mean[i] = goal[i] + (activity - goal[i]) * lag[i]
                activity = goal[i] + (activity - goal[i]) * fade[i]
        return mean.reshape(-1, self.parts).mean(axis=1)


def _kill_hazard(drug: Drug, doses: Sequence[Dose], edges: Array) -> Array:
    """Tick means of the hazard that removes `log10_kill` decades in the exposure window of each course."""
    integral = np.zeros(edges.size)
    for dose in doses:
        decades = drug.log10_kill * dose.dose_mg / drug.reference_dose_mg
        hazard = decades * np.log(10.0) / drug.exposure_h
        integral += hazard * np.clip(edges - dose.time_h, 0.0, drug.exposure_h)
    return np.diff(integral) / np.diff(edges)


def _turnover_gain(drug: Drug, doses: Sequence[Dose], edges: Array) -> Array:
    """Tick values of the added share of activation: `turnover_gain`, fading since the last course."""
    times = np.array(sorted(dose.time_h for dose in doses if dose.dose_mg > 0))
    middle = (edges[:-1] + edges[1:]) / 2.0
    last = np.searchsorted(times, middle, side="right") - 1
    since = middle - times[np.maximum(last, 0)] if times.size else np.full(middle.size, np.inf)
    fading = np.exp(-np.maximum(since, 0.0) / drug.turnover_decay_time)
    return np.where(last >= 0, drug.turnover_gain * fading, 0.0)


def build_forcing(
    regimen: Iterable[Any],
    drugs: Mapping[str, Drug],
    patient: Any,
    n_steps: int,
    tick_h: float,
    start_h: float = 0.0,
) -> Forcing:
    """What reaches the niche in each tick of a run.

    Parameters
    ----------
    regimen : iterable of Course
    drugs : mapping of name to Drug
        Its order is the order of the drug columns; without drugs there is one empty column.
    patient : Patient
    n_steps : int
    tick_h : float, h
    start_h : float, h
        Time of the first tick's start on the clock of the courses and the patient; doses given before it
        are followed up to it (a spin-up starts at a negative time).

    Returns
    -------
    Forcing

    Raises
    ------
    InputError
        A course, the tick or the number of steps is not valid.
    """
    if n_steps < 1 or not tick_h > 0:
        raise InputError(f"forcing: needs at least one tick of positive length, not {n_steps} of {tick_h} h")
    edges = start_h + tick_h * np.arange(n_steps + 1)
    doses = list_doses(regimen, drugs, float(edges[-1]))
    uptake, plasma = np.zeros((2, n_steps, max(1, len(drugs))))
    unblocked, gamma_delta = np.ones(n_steps), _GammaDelta(edges)
    hazard, gain = np.zeros(n_steps), np.zeros(n_steps)
    for column, (name, drug) in enumerate(drugs.items()):
        mine = [dose for dose in doses if dose.drug == name]
        if not mine:
            continue
        if not drug.has_kinetics:
            hazard += _kill_hazard(drug, mine, edges)
            gain = np.maximum(gain, _turnover_gain(drug, mine, edges))
            continue
        wakes = drug.gamma_delta_max_rate > 0
        course = follow(drug, mine, gamma_delta.edges if wakes else edges)
        uptake[:, column] = sum_over_ticks(course, edges, "skeleton") * _FMOL_PER_NMOL / drug.surface_area
        plasma[:, column] = drug.free_fraction * sum_over_ticks(course, edges, "exposure") / tick_h
        if np.isfinite(drug.rankl_half_concentration):
            unblocked *= 1.0 - mean_response(drug, course, edges, drug.rankl_half_concentration)
        if wakes:
            gamma_delta.add(drug, course)
    activation, balance, rankl = _endocrine(patient, (edges[:-1] + edges[1:]) / 2.0)
    activation = activation * (1.0 + gain)
    return Forcing(
        uptake, plasma, gamma_delta.means(), 1.0 - unblocked, hazard, activation, balance, rankl
    )


def _endocrine(patient: Any, times_h: Array) -> tuple[Array, Array, Array]:
    curves = []
    for name in ("activation", "bone_balance", "rankl_factor"):
        values = np.atleast_1d(np.asarray(getattr(patient, name), dtype=np.float64))
        knots = np.atleast_1d(np.asarray(patient.times_h, dtype=np.float64))
        if values.size not in (1, knots.size) or np.any(np.diff(knots) <= 0) or not np.all(values >= 0):
            raise InputError(f"patient: {name} needs a value >= 0 for each of {knots.size} rising times")
        curves.append(np.interp(times_h, knots, np.broadcast_to(values, knots.shape)))
    return curves[0], curves[1], curves[2]
