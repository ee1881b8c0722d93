"""Compartments solved from published half-lives, peaks and volumes: `python tests/compartments.py` prints them.

What is given and what it has to meet is written out below, drug by drug; the files of the drugs hold the solution, rounded.
Clearances are given: they come from clearances, exposures and urine, not from the shape of the curve.
"""

from dataclasses import replace

import numpy as np
from scipy.optimize import least_squares

from niche_sim.config import load_drug
from niche_sim.drugs import Drug, Peripheral
from niche_sim.pharmacokinetics import pharmacokinetics
from niche_sim.regimens import Course
from niche_sim.submodels.pk import find_half_lives


def build(name: str, volume: float, clearance: float, tissues: list[tuple[float, float]]) -> Drug:
    """Return a shipped drug with other volumes (L) and clearances (L/h), all of it excreted."""
    drug = replace(load_drug(name).drug, central_volume=volume, clearance_excretion=clearance, clearance_skeleton=0.0)
    return replace(drug, peripheral=tuple(Peripheral(*tissue) for tissue in tissues))


def infuse(drug: Drug, dose_mg: float, infusion_h: float, times_h: list[float]) -> np.ndarray:
    """Return concentrations (nmol/L) of one infusion."""
    return pharmacokinetics(drug, [Course(drug.name, dose_mg, route="iv", infusion_h=infusion_h)], times_h)["concentration"]


def solve(misses, start: list[float]) -> np.ndarray:
    """Return the positive numbers at which every miss (relative) is nought."""
    found = least_squares(lambda logs: misses(np.exp(logs)), np.log(start), xtol=1e-14, ftol=1e-14)
    assert found.cost < 1e-16, found
    return np.exp(found.x)


def solve_zoledronate() -> dict[str, float]:
    """Half-lives 0.24, 1.87 and 146 h with a centre of 12 L (peak) and 0.1 L/h into the slow tissue (below 1 % at 24 h)."""

    def misses(x):
        return np.log(find_half_lives(build("zoledronate", 12.0, 10.4, [(x[0], x[1]), (x[2], 0.1)]))) - goal

    goal = np.log([0.24, 1.87, 146.0])
    return dict(zip(("volume_1", "clearance_1", "volume_2"), solve(misses, [11.0, 14.0, 21.0])))


def solve_pamidronate() -> dict[str, float]:
    """Half-lives 0.8 and 27.2 h and a peak of 9.7 umol/L after 60 mg in 1 h, at 9 L/h."""

    def misses(x):
        drug = build("pamidronate", x[0], 9.0, [(x[1], x[2])])
        peak = infuse(drug, 60.0, 1.0, [1.0])[0]
        return np.log([*find_half_lives(drug), peak]) - np.log([0.8, 27.2, 9700.0])

    return dict(zip(("central_volume", "volume_1", "clearance_1"), solve(misses, [15.0, 90.0, 3.0])))


def solve_clodronate() -> dict[str, float]:
    """Half-lives 0.22, 2.3 and 12.8 h with a centre of 6.3 L, 107 mL/min and 20 L at steady state."""

    def misses(x):
        drug = build("clodronate", 6.3, 6.42, [(x[0], x[1]), (x[2], x[3])])
        return np.log([*find_half_lives(drug), 6.3 + x[0] + x[2]]) - np.log([0.22, 2.3, 12.8, 20.0])

    return dict(zip(("volume_1", "clearance_1", "volume_2", "clearance_2"), solve(misses, [10.0, 9.0, 3.0, 0.2])))


def solve_alendronate() -> dict[str, float]:
    """5 % of the peak 6 h after the end of a 2 h infusion, with a centre of 10 L, 28 L in all and 151 mL/min."""

    def misses(x):
        peak, late = infuse(build("alendronate", 10.0, 9.06, [(18.0, x[0])]), 10.0, 2.0, [2.0, 8.0])
        return [np.log(late / peak / 0.05)]

    return {"clearance_1": solve(misses, [3.0])[0]}


def solve_risedronate() -> dict[str, float]:
    """A half-life of 1.5 h in one compartment, at 105 mL/min into urine and 56.5 into bone."""

    def misses(x):
        return [np.log(find_half_lives(build("risedronate", x[0], 9.69, []))[0] / 1.5)]

    return {"central_volume": solve(misses, [20.0])[0]}


SOLVERS = {
    "zoledronate": solve_zoledronate, "pamidronate": solve_pamidronate, "clodronate": solve_clodronate,
    "alendronate": solve_alendronate, "risedronate": solve_risedronate,
}  # fmt: skip


def read_shipped(name: str) -> dict[str, float]:
    """Return the shipped numbers under the names that the solvers use."""
    drug = load_drug(name).drug
    found = {"central_volume": drug.central_volume}
    for i, tissue in enumerate(drug.peripheral, start=1):
        found |= {f"volume_{i}": tissue.volume, f"clearance_{i}": tissue.clearance}
    return found


if __name__ == "__main__":
    for drug_name, solver in SOLVERS.items():
        print(drug_name, {key: round(float(value), 3) for key, value in solver().items()})
