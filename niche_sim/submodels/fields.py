"""Fields alone: one diffusing, decaying factor around walls, at its steady state or in time.

    dc/dt = D lap c - (decay + uptake) c + secretion

on a lattice of 1, 2 or 3 dimensions: cell-centred finite volumes of second order, faces closed, periodic or fixed at a
value, no flux into walls or a share of it. The steady state is the model's own solver (`niche_sim.fields`) or a direct
solution (`fields_steady`), with a bound on the error; the course in time is the exponential of the rate matrix
(`niche_sim.transient`): positive and stable for any step, exact in time for sources that are constant in pieces, of second
order in `step` for others.
"""

from typing import Any

import numpy as np
import pandas as pd

from niche_sim.errors import NumericalError
from niche_sim.submodels.base import Mistakes, Progress, Tables
from niche_sim.submodels.fields_check import check_spec, count_records
from niche_sim.submodels.fields_spec import FieldsModel

MODEL = "fields"
SCHEME = (
    "cell-centred finite volumes, second order in space; steady: projected over-relaxation in red-black order, or linear "
    "algebra refined in extended precision, each with a bound on the error; in time: exponential of the rate matrix by "
    "uniformisation, non-negative, conservative, exact for sources constant in pieces, second order in the step for others"
)
MOST_ROWS_UNASKED = 200_000

COLUMNS = {
    "concentration": {
        "time_h": ("h", "time; inf at the steady state"), "z": ("1", "voxel along z, from 0"), "y": ("1", "voxel along y"),
        "x": ("1", "voxel along x"), "x_um": ("um", "centre of the voxel"), "y_um": ("um", "centre of the voxel"),
        "z_um": ("um", "centre of the voxel"), "concentration_nmol_per_L": ("nmol/L", "0 in walls without flux"),
    },
    "ledger": {
        "time_h": ("h", "time; inf at the steady state"),
        "initial_fmol": ("fmol", "there at time 0"), "secreted_fmol": ("fmol", "secreted so far"),
        "released_fmol": ("fmol", "released at once so far"), "decayed_fmol": ("fmol", "decayed so far"),
        "taken_up_fmol": ("fmol", "taken up so far"),
        "crossed_boundary_fmol": ("fmol", "left through fixed faces, less what entered, so far"),
        "total_fmol": ("fmol", "there now"), "closure_error_fmol": ("fmol", "gains less losses less total"),
        "throughput_fmol": ("fmol", "all that came in so far"),
        "secreted_fmol_per_h": ("fmol/h", "secreted, at the steady state"),
        "decayed_fmol_per_h": ("fmol/h", "decayed, at the steady state"),
        "taken_up_fmol_per_h": ("fmol/h", "taken up, at the steady state"),
        "crossed_boundary_fmol_per_h": ("fmol/h", "left through fixed faces, less what entered, at the steady state"),
        "closure_error_fmol_per_h": ("fmol/h", "secreted less the other three"),
        "throughput_fmol_per_h": ("fmol/h", "all that comes in at the steady state"),
        "relative_closure_error": ("1", "closure error / throughput"),
    },
    "probes": {
        "time_h": ("h", "time; inf at the steady state"), "probe": ("1", "number in record.probes, from 0"),
        "z": ("1", "voxel along z"), "y": ("1", "voxel along y"), "x": ("1", "voxel along x"),
        "concentration_nmol_per_L": ("nmol/L", "concentration"),
    },
    "summary": {
        "scheme": ("name", "sweeps, direct or gradients; uniformisation in time"), "voxels": ("1", "voxels of the lattice"),
        "wall_voxels": ("1", "voxels that are walls"), "sweeps": ("1", "sweeps, refinements or iterations; jumps in time"),
        "error_bound_nmol_per_L": ("nmol/L", "bound on the largest error on the lattice; empty where a formula has t"),
        "tolerance_met": ("1", "whether the bound is within the tolerance"),
        "least_nmol_per_L": ("nmol/L", "least concentration, at the end"),
        "greatest_nmol_per_L": ("nmol/L", "greatest concentration, at the end"),
        "total_fmol": ("fmol", "amount on the lattice, at the end"),
        "largest_closure_error": ("1", "largest relative closure error of the ledger"),
    },
}  # fmt: skip


class Spec(FieldsModel):
    """A field on a lattice, steady or in time."""


def check(spec: Spec) -> Mistakes:
    """Return mistakes across keys."""
    return check_spec(spec)


def run(spec: Spec, progress: Progress) -> Tables:
    """Return the field, its probes, its ledger and a summary.

    Raises
    ------
    InputError
        A file or formula cannot be used, or there is no single steady state.
    """
    # The compiler takes a second to load, and a mere check of a file does without it.
    from niche_sim.submodels.fields_build import build_grid
    from niche_sim.submodels.fields_lattice import find_voxel

    grid = build_grid(spec)
    asked = spec.record.concentration
    whole = count_records(spec) * grid.n <= MOST_ROWS_UNASKED if asked is None else asked
    probes = np.array([find_voxel(grid, probe) for probe in spec.record.probes], dtype=np.int64)
    kept = np.arange(grid.n) if whole else probes
    times, fields, ledger, summary = (_run_steady if spec.steady is not None else _run_time)(spec, grid, kept, progress)
    tables = {"summary": summary, "ledger": ledger}
    if len(probes):
        tables["probes"] = _tabulate(grid, probes, times, fields[:, probes] if whole else fields, np.arange(len(probes)))
    if whole:
        tables["concentration"] = _tabulate(grid, kept, times, fields)
    progress(1.0)
    return tables


def _tabulate(grid: Any, voxels: np.ndarray, times: np.ndarray, fields: np.ndarray, probe: Any = None) -> pd.DataFrame:
    """Return one row for each time and voxel."""
    columns = {"time_h": np.repeat(times, len(voxels))}
    if probe is not None:
        columns["probe"] = np.tile(probe, len(times))
    x, y, z = grid.places[:, voxels]
    columns |= {name: np.tile(values, len(times)) for name, values in (("z", z), ("y", y), ("x", x))}
    if probe is None:
        columns |= {f"{name}_um": np.tile(grid.names[name][voxels], len(times)) for name in ("x", "y", "z")}
    return pd.DataFrame(columns | {"concentration_nmol_per_L": np.asarray(fields).ravel()})


def _run_steady(spec: Spec, grid: Any, kept: np.ndarray, progress: Progress) -> tuple[Any, ...]:
    """Return times, fields (nmol/L) in the kept voxels, ledger and summary."""
    from niche_sim.submodels.fields_lattice import read_secretion
    from niche_sim.submodels.fields_steady import balance, solve_field

    steady = spec.steady
    assert steady is not None
    secretion = np.zeros(grid.n)
    for i in range(len(spec.sources)):
        secretion += read_secretion(spec, grid, i, 0.0)
    found = solve_field(
        grid, secretion, spec.diffusion_um2_h, spec.decay_h, spec.wall_permeability, steady.method, steady.tolerance,
        steady.most_sweeps,
    )  # fmt: skip
    c = found.concentration
    if not np.isfinite(c).all():
        raise NumericalError("concentration: the steady state is not finite")
    ledger = pd.DataFrame([{"time_h": np.inf} | balance(grid, secretion, spec.decay_h, c)])
    met = found.bound <= steady.tolerance * np.abs(c).max()
    summary = _summarise(grid, c, found.method, found.sweeps, found.bound, bool(met), ledger)
    return np.array([np.inf]), c[None, kept], ledger, summary


def _run_time(spec: Spec, grid: Any, kept: np.ndarray, progress: Progress) -> tuple[Any, ...]:
    """Return times, fields (nmol/L) in the kept voxels, ledger and summary."""
    from niche_sim.submodels.fields_time import TERMS, find_closure, run_in_time

    course = run_in_time(spec, grid, kept, progress)
    columns = {f"{name}_fmol": course.ledger[:, i] for i, name in enumerate(TERMS)}
    error = find_closure(course.ledger)
    relative = np.divide(error, course.throughput, out=np.zeros_like(error), where=course.throughput > 0.0)
    ledger = pd.DataFrame(
        {"time_h": course.times_h} | columns
        | {"closure_error_fmol": error, "throughput_fmol": course.throughput, "relative_closure_error": relative}
    )  # fmt: skip
    summary = _summarise(grid, course.last, "uniformisation", course.jumps, course.bound, True, ledger)
    return course.times_h, course.fields, ledger, summary


def _summarise(
    grid: Any, c: np.ndarray, scheme: str, sweeps: int, bound: float, met: bool, ledger: pd.DataFrame
) -> pd.DataFrame:
    from niche_sim.submodels.fields_lattice import sum_amount

    inside = c[~grid.is_sealed] if not grid.is_sealed.all() else c
    return pd.DataFrame([{
        "scheme": scheme, "voxels": grid.n, "wall_voxels": int(grid.is_wall.sum()), "sweeps": sweeps,
        "error_bound_nmol_per_L": bound, "tolerance_met": met, "least_nmol_per_L": inside.min(),
        "greatest_nmol_per_L": inside.max(), "total_fmol": sum_amount(grid, c),
        "largest_closure_error": ledger["relative_closure_error"].abs().max(),
    }])  # fmt: skip
