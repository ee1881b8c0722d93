"""Pharmacokinetics alone: one drug in one, two or three compartments, any doses, solved exactly.

    dA_a/dt = -ka A_a,   dA_c/dt = ka A_a + r(t) + sum_i Q_i (A_i / V_i - C) - CL C,   C = A_c / V
    dA_i/dt = Q_i (C - A_i / V_i)

Doses are boluses or infusions into the centre, or a fraction `bioavailability` into an absorbing site after a lag. The
system is linear: between events it moves by matrix exponentials, and the area under the curve is a further state.
"""

from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from niche_sim.config.quantity import choice, quantity, refuse
from niche_sim.config.schema import Strict
from niche_sim.drugs import Drug, Peripheral
from niche_sim.pharmacokinetics import pharmacokinetics
from niche_sim.regimens import Course, list_doses
from niche_sim.submodels.base import Mistakes, Progress, SubModel, Tables

MODEL = "pk"
SCHEME = "matrix exponentials between dose events; exact but for rounding"
MOST_ROWS = 200_000
MG_PER_NMOL = 1e-6  # per g/mol
_RATE = quantity("0 /h", "1e6 /h", unit="1/h")
_EXCHANGE = quantity("0 /h", "1e6 /h", unit="1/h", above=True)
_SPAN = quantity("0 h", "100 yr", unit="h", above=True)

COLUMNS = {
    "concentration": {
        "time_h": ("h", "time"), "concentration_mg_per_L": ("mg/L", "in the centre, total"),
        "concentration_nmol_per_L": ("nmol/L", "in the centre, total"),
        "absorbing_mg": ("mg", "still to be absorbed"), "central_mg": ("mg", "in the centre"),
        "peripheral_1_mg": ("mg", "in the first tissue"), "peripheral_2_mg": ("mg", "in the second tissue"),
        "eliminated_mg": ("mg", "eliminated so far"), "unabsorbed_mg": ("mg", "lost before absorption so far"),
        "dosed_mg": ("mg", "given so far"), "auc_mg_h_per_L": ("mg h/L", "area under the concentration so far"),
    },
    "exposure": {
        "quantity": ("name", "what"), "value": ("1", "its value, in the unit beside it"), "unit": ("name", "unit"),
    },
}  # fmt: skip


class TissueModel(Strict):
    """A peripheral compartment, by volume and exchange clearance or by rate constants out and back."""

    volume_L: Annotated[float, quantity("1e-6 L", "1e6 L", unit="L")] | None = Field(default=None, alias="volume")
    clearance_L_h: Annotated[float, quantity("0 L/h", "1e6 L/h", unit="L/h")] | None = Field(default=None, alias="clearance")
    rate_out_h: Annotated[float, _EXCHANGE] | None = Field(default=None, alias="rate_out")
    rate_back_h: Annotated[float, _EXCHANGE] | None = Field(default=None, alias="rate_back")


class DoseModel(Strict):
    """A course of doses: one at `start`, or one every `interval` until before `until`."""

    dose_mg: Annotated[float, quantity("0 mg", "100 g", unit="mg")] = Field(alias="dose")
    start_h: Annotated[float, quantity("0 h", "100 yr", unit="h")] = Field(alias="start", default=0.0)
    interval_h: Annotated[float, _SPAN] | None = Field(alias="interval", default=None)
    until_h: Annotated[float, quantity("0 h", "100 yr", unit="h")] | None = Field(alias="until", default=None)
    route: Annotated[str, choice("iv", "oral")] = "iv"
    infusion_h: Annotated[float, quantity("0 h", "10 d", unit="h")] = Field(alias="infusion", default=0.0)


class KineticsModel(Strict):
    """Disposition of a drug."""

    molar_mass: Annotated[float, quantity("1 g/mol", "1e6 g/mol", unit="g/mol")] = 1000.0
    volume_L: Annotated[float, quantity("1e-6 L", "1e6 L", unit="L")] = Field(alias="volume")
    clearance_L_h: Annotated[float, quantity("0 L/h", "1e6 L/h", unit="L/h")] | None = Field(default=None, alias="clearance")
    elimination_h: Annotated[float, _RATE] | None = Field(default=None, alias="elimination_rate")
    absorption_h: Annotated[float, _RATE] | None = Field(default=None, alias="absorption_rate")
    bioavailability: Annotated[float, quantity(0.0, 1.0)] = 1.0
    lag_h: Annotated[float, quantity("0 h", "10 d", unit="h")] = Field(alias="lag", default=0.0)
    peripheral: list[TissueModel] = Field(default=[], max_length=2)

    @model_validator(mode="after")
    def _is_complete(self) -> "KineticsModel":
        if (self.clearance_L_h is None) == (self.elimination_h is None):
            raise refuse("missing", "give either clearance or elimination_rate")
        for tissue in self.peripheral:
            by_volume = tissue.volume_L is not None and tissue.clearance_L_h is not None
            by_rates = tissue.rate_out_h is not None and tissue.rate_back_h is not None
            if by_volume == by_rates:
                raise refuse("missing", "each tissue needs either volume and clearance, or rate_out and rate_back")
        return self


class Spec(SubModel):
    """Pharmacokinetics of one drug."""

    kinetics: KineticsModel
    doses: list[DoseModel] = Field(min_length=1, max_length=1000)
    length_h: Annotated[float, quantity("0 h", "100 yr", unit="h", above=True)] = Field(alias="length")
    every_h: Annotated[float, quantity("0 h", "100 yr", unit="h", above=True)] = Field(alias="every")


def check(spec: Spec) -> Mistakes:
    """Return mistakes across keys."""
    return check_doses(spec.kinetics, spec.doses, spec.length_h, spec.every_h)


def check_doses(kinetics: KineticsModel, doses: list[DoseModel], length_h: float, every_h: float) -> Mistakes:
    """Return mistakes of doses and times, by the keys of their file."""
    found: Mistakes = []
    for i, dose in enumerate(doses):
        if dose.route == "oral" and kinetics.absorption_h is None:
            found.append((("doses", i, "route"), "an oral dose needs kinetics.absorption_rate"))
        if dose.start_h > length_h:
            found.append((("doses", i, "start"), "is after the end of the run"))
        if dose.until_h is not None and dose.until_h <= dose.start_h:
            found.append((("doses", i, "until"), "is not after the start, so that no dose is given"))
        if dose.interval_h is not None and (length_h - dose.start_h) / dose.interval_h > 100_000:
            found.append((("doses", i, "interval"), "gives more than 100,000 doses"))
    if length_h / every_h > MOST_ROWS:
        found.append((("every",), f"gives more than {MOST_ROWS:,} rows"))
    return found


class Solution(NamedTuple):
    """A drug, its doses, and how to ask for its amounts."""

    drug: Drug
    courses: list[Course]

    def at(self, times_h: Any) -> dict[str, np.ndarray]:
        """Return amounts (nmol) and concentrations (nmol/L) at times (h)."""
        return pharmacokinetics(self.drug, self.courses, times_h)


def solve(kinetics: KineticsModel, doses: list[DoseModel], end_h: float) -> Solution:
    """Return the solution of a set of doses; every dose before or at `end_h` is followed."""
    volume = kinetics.volume_L
    clearance = kinetics.elimination_h * volume if kinetics.clearance_L_h is None else kinetics.clearance_L_h  # type: ignore[operator]
    tissues = []
    for tissue in kinetics.peripheral:
        exchange = tissue.rate_out_h * volume if tissue.clearance_L_h is None else tissue.clearance_L_h  # type: ignore[operator]
        room = exchange / tissue.rate_back_h if tissue.volume_L is None else tissue.volume_L  # type: ignore[operator]
        tissues.append(Peripheral(room, exchange))
    drug = Drug(
        "drug", "bisphosphonate", molar_mass=kinetics.molar_mass, absorbed_fraction=kinetics.bioavailability,
        absorption_rate=kinetics.absorption_h or 0.0, central_volume=volume, clearance_excretion=clearance,
        peripheral=tuple(tissues),
    )  # fmt: skip
    courses = []
    for dose in doses:
        lag = kinetics.lag_h if dose.route == "oral" else 0.0
        until = None if dose.until_h is None else dose.until_h + lag
        courses.append(Course("drug", dose.dose_mg, dose.interval_h, dose.start_h + lag, until, dose.route, dose.infusion_h))
    return Solution(drug, courses)


def list_times(length_h: float, every_h: float) -> np.ndarray:
    """Return recorded times (h): every so often from 0, and the end."""
    return np.unique(np.append(np.arange(0.0, length_h, every_h), length_h))


def run(spec: Spec, progress: Progress) -> Tables:
    """Return concentration over time and exposure."""
    solution = solve(spec.kinetics, spec.doses, spec.length_h)
    found = solution.at(list_times(spec.length_h, spec.every_h))
    mg = spec.kinetics.molar_mass * MG_PER_NMOL
    columns = {
        "time_h": found["time_h"], "concentration_mg_per_L": mg * found["concentration"],
        "concentration_nmol_per_L": found["concentration"], "absorbing_mg": mg * found["absorbing"],
        "central_mg": mg * found["plasma"],
    }  # fmt: skip
    for i in range(2):
        amount = found["peripheral"][:, i] if i < len(spec.kinetics.peripheral) else np.zeros(len(found["time_h"]))
        columns[f"peripheral_{i + 1}_mg"] = mg * amount
    columns |= {
        "eliminated_mg": mg * found["excreted"], "unabsorbed_mg": mg * found["unabsorbed"],
        "dosed_mg": mg * found["dosed"], "auc_mg_h_per_L": mg * found["exposure"],
    }  # fmt: skip
    progress(1.0)
    return {"concentration": pd.DataFrame(columns), "exposure": _measure(spec, solution, columns)}


def _measure(spec: Spec, solution: Solution, columns: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return areas, peaks and half-lives."""
    doses = list_doses(solution.courses, {"drug": solution.drug}, spec.length_h + 1e-6)
    drug, level = solution.drug, columns["concentration_mg_per_L"]
    absorbed = sum(dose.dose_mg * (drug.absorbed_fraction if dose.route == "oral" else 1.0) for dose in doses)
    clearance = drug.clearance_excretion
    rows = [
        ("doses", float(len(doses)), "1"), ("dosed", sum(dose.dose_mg for dose in doses), "mg"),
        ("auc_to_end", float(columns["auc_mg_h_per_L"][-1]), "mg h/L"),
        ("auc_to_infinity", absorbed / clearance if clearance > 0 else np.inf, "mg h/L"),
        ("highest_recorded", float(level.max()), "mg/L"),
        ("time_of_highest_recorded", float(columns["time_h"][level.argmax()]), "h"), ("clearance", clearance, "L/h"),
    ]  # fmt: skip
    rows += [(f"half_life_{i + 1}", value, "h") for i, value in enumerate(find_half_lives(drug))]
    return pd.DataFrame(rows, columns=["quantity", "value", "unit"])


def find_half_lives(drug: Drug) -> list[float]:
    """Return the half-lives of disposition (h), shortest first."""
    n = 1 + len(drug.peripheral)
    matrix = np.zeros((n, n))
    matrix[0, 0] = -drug.clearance_excretion / drug.central_volume
    for i, tissue in enumerate(drug.peripheral, start=1):
        matrix[0, 0] -= tissue.clearance / drug.central_volume
        matrix[0, i] = tissue.clearance / tissue.volume
        matrix[i, 0] = tissue.clearance / drug.central_volume
        matrix[i, i] = -tissue.clearance / tissue.volume
    rates = -np.linalg.eigvals(matrix).real
    return sorted(float(np.log(2.0) / rate) for rate in rates if rate > 1e-15)
