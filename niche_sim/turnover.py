"""Structure and turnover of bone, measured on a niche: what histomorphometry reads off a section, and each finished BMU.

Thickness, separation and number are those of Parfitt's plate model (J Clin Invest 1983;72:1396): Tb.Th = 2 BV/BS,
Tb.Sp = Tb.Th (TV/BV - 1), Tb.N = (BV/TV) / Tb.Th. A 2-D patch is extruded through its section, so its plates stand upright
and no correction for oblique cuts is made. BS is the true surface: staircase faces times the Crofton factor.
"""

import numpy as np
import pandas as pd

from niche_sim.kinds import (
    BMU_OUTCOMES,
    FREE,
    FULL,
    MINERAL_FORMED,
    MINERAL_REMOVED,
    MINERALISING_FACES,
    N_BMU_STARTED,
    NEVER,
)
from niche_sim.lattice import World, split_index
from niche_sim.state import State
from niche_sim.surface import ALL_FACES, ERODED_FACES, OSTEOCLAST_FACES, OSTEOID_FACES, count_faces

HOURS_PER_DAY = 24.0
HOURS_PER_YEAR = 24.0 * 365.25
_UM_PER_MM = 1e3


def measure_structure(volume_fraction: float, surface_um2: float, world: World) -> dict[str, float]:
    """Return surface density, thickness, separation and number of trabeculae by the plate model; NaN without surface."""
    total_um3 = world.n * world.volume_um3
    if surface_um2 <= 0.0 or volume_fraction <= 0.0:
        thickness = np.nan
    else:
        thickness = 2.0 * volume_fraction * total_um3 / surface_um2
    return {
        "bone_surface_density_per_mm": float(surface_um2 / total_um3 * _UM_PER_MM),
        "trabecular_thickness_um": float(thickness),
        "trabecular_separation_um": float(thickness * (1.0 / volume_fraction - 1.0)) if volume_fraction > 0.0 else np.nan,
        "trabecular_number_per_mm": float(volume_fraction / thickness * _UM_PER_MM),
    }


def measure_bone(state: State, world: World) -> dict[str, float]:
    """Return bone volume fraction, surface (um2), plate-model structure, and the shares of surface by what goes on there."""
    counts = np.zeros(4, np.int64)
    count_faces(state, world, counts)
    faces = max(int(counts[ALL_FACES]), 1)
    volume = float(state.voxels.mineral.sum(dtype=np.int64) / FULL / world.n)
    surface = float(counts[ALL_FACES] * world.face_um2 * world.surface_factor)
    return {
        "bone_volume_fraction": volume,
        "bone_surface_um2": surface,
        **measure_structure(volume, surface, world),
        "eroded_surface_fraction": float(counts[ERODED_FACES] / faces),
        "osteoclast_surface_fraction": float(counts[OSTEOCLAST_FACES] / faces),
        "osteoid_surface_fraction": float(counts[OSTEOID_FACES] / faces),
        "bmu_active": int((state.bmus.phase != FREE).sum()),
    }


def measure_turnover(
    state: State, world: World, before: np.ndarray, ticks: int, tick_h: float, surface_um2: float
) -> dict[str, float]:
    """Return rates since tally `before`, `ticks` ago: resorption, formation (um3/d), births of BMUs, apposition.

    Mineral apposition is the mineral laid per area and time of the faces from which it grew; it is NaN if none grew.
    """
    hours = max(ticks * tick_h, 1e-9)
    volume_um3 = world.volume_um3 / FULL
    change = state.tally - before
    opened = state.opened[0] / state.opened[1] if state.opened[1] > 0 else 0.0
    births = change[N_BMU_STARTED]
    frequency = births * opened / surface_um2 / (hours / HOURS_PER_YEAR) if surface_um2 > 0 else 0.0
    formed_um3_per_d = float(change[MINERAL_FORMED] * volume_um3 / (hours / HOURS_PER_DAY))
    mineralising_um2 = change[MINERALISING_FACES] / max(ticks, 1) * world.face_um2 * world.surface_factor
    return {
        "resorption_um3_per_d": float(change[MINERAL_REMOVED] * volume_um3 / (hours / HOURS_PER_DAY)),
        "formation_um3_per_d": formed_um3_per_d,
        "activation_frequency_per_yr": float(frequency),
        "mineralising_surface_fraction": float(mineralising_um2 / surface_um2) if surface_um2 > 0 else 0.0,
        "mineral_apposition_um_per_d": float(formed_um3_per_d / mineralising_um2) if mineralising_um2 > 0 else np.nan,
        "bone_formation_um_per_d": float(formed_um3_per_d / surface_um2) if surface_um2 > 0 else 0.0,
    }


def _to_hours(steps: np.ndarray, hours: float) -> np.ndarray:
    """Return the times of steps, NaN for NEVER."""
    return np.where(steps == NEVER, np.nan, steps * hours)


def list_bmus(finished: np.ndarray, world: World, hours: float) -> pd.DataFrame:
    """Return rows of the table `State.finished` with times, periods, depth and wall thickness; NaN where a phase is missing.

    Depth and wall thickness are what was removed and filled over the surface that the BMU opened.
    """
    done = finished
    start, resorbing, reversal, forming = (
        _to_hours(np.asarray(done[name]), hours) for name in ("recruiting", "resorbing", "reversal", "forming")
    )
    end = done["ended"] * hours
    volume_um3 = world.volume_um3 / FULL
    footprint = np.where(done["footprint"] > 0.0, done["footprint"], np.nan)
    # A BMU that ended early ended the last phase that it reached.
    return pd.DataFrame({
        "step": done["ended"].astype(np.int64), "time_h": end, "ident": done["ident"].astype(np.uint64),
        "outcome": np.array(BMU_OUTCOMES)[done["outcome"]], **split_index(done["origin"], world),
        "start_h": start, "resorption_start_h": resorbing, "reversal_start_h": reversal, "formation_start_h": forming,
        "resorption_period_h": reversal - resorbing, "reversal_period_h": forming - reversal,
        "formation_period_h": end - forming,
        "footprint_um2": np.array(done["footprint"]), "removed_um3": done["removed"] * volume_um3,
        "filled_um3": done["filled"] * volume_um3, "depth_um": done["removed"] * volume_um3 / footprint,
        "wall_thickness_um": done["filled"] * volume_um3 / footprint, "perforated": done["perforated"].astype(np.int64),
    })  # fmt: skip
