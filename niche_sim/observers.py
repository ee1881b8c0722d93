"""Observers: what is read off a niche at a recorded time, as plain rows and arrays."""

from typing import Any

import numpy as np
import pandas as pd

from niche_sim.kinds import (
    BMU_OUTCOMES,
    COUNTER_NAMES,
    CYCLING,
    DORMANT,
    DTC,
    FIELD_NAMES,
    FORMING,
    FREE,
    FULL,
    KIND_NAMES,
    LOG_BMU_END,
    LOG_COLUMNS,
    LOG_DEATH,
    LOG_NAMES,
    LOG_WAKE,
    MACROPHAGE,
    MINERAL_FORMED,
    MINERAL_REMOVED,
    MODE_NAMES,
    N_BMU_STARTED,
    N_SEEDED,
    OSTEOBLAST,
    OSTEOCLAST,
    OUTCOME_NAMES,
    PRECURSOR,
    RECRUITING,
)
from niche_sim.lattice import World
from niche_sim.markers import Markers, find_degree
from niche_sim.state import State

HOURS_PER_DAY = 24.0
HOURS_PER_YEAR = 24.0 * 365.25
CUMULATIVE = tuple(name for name in COUNTER_NAMES if name.startswith(("dtc_", "osteoclast_", "bmu_")))


def count_cells(state: State) -> dict[str, int]:
    """Return the number of living cells by kind, tumour cells by mode."""
    n = state.living[0]
    kind, mode = state.cells.kind[:n], state.cells.mode[:n]
    # Founders are numbered from 1; the clone of a cell that came from blood is its hashed identity.
    clone = state.cells.clone[:n]
    arrived = (clone < 1) | (clone > state.tally[N_SEEDED])
    counts = np.bincount(kind, minlength=len(KIND_NAMES))
    return {
        "dormant": int(((kind == DTC) & (mode == DORMANT)).sum()),
        "cycling": int(((kind == DTC) & (mode == CYCLING)).sum()),
        "cycling_arrived": int(((kind == DTC) & (mode == CYCLING) & arrived).sum()),
        "precursors": int(counts[PRECURSOR]),
        "osteoclasts": int(counts[OSTEOCLAST]),
        "osteoblasts": int(counts[OSTEOBLAST]),
        "macrophages": int(counts[MACROPHAGE]),
    }


def measure_bone(state: State, world: World) -> dict[str, float]:
    """Return bone volume fraction, surface (um2) and the share of surface that is eroding or reversing."""
    voxels, bmus = state.voxels, state.bmus
    faces = voxels.exposed.astype(np.int64)
    held = voxels.owner >= 0
    phase = np.where(held, bmus.phase[np.maximum(voxels.owner, 0)], FREE)
    # A cavity stays eroded surface until its first osteoid is laid.
    bare = (phase == FORMING) & (bmus.filled[np.maximum(voxels.owner, 0)] == 0)
    eroded = faces[((phase > RECRUITING) & (phase < FORMING)) | bare].sum()
    return {
        "bone_volume_fraction": float(voxels.mineral.sum(dtype=np.int64) / FULL / world.n),
        "bone_surface_um2": float(faces.sum() * world.face_um2 * world.surface_factor),
        "eroded_surface_fraction": float(eroded / max(faces.sum(), 1)),
        "bmu_active": int((bmus.phase != FREE).sum()),
    }


def measure_turnover(state: State, world: World, before: np.ndarray, hours: float, surface_um2: float) -> dict:
    """Return rates since tally `before`, `hours` ago: resorption, formation (um3/d), births of BMUs."""
    days = max(hours, 1e-9) / HOURS_PER_DAY
    per_day = world.volume_um3 / FULL / days
    change = state.tally - before
    opened = state.opened[0] / state.opened[1] if state.opened[1] > 0 else 0.0
    births = change[N_BMU_STARTED]
    frequency = births * opened / surface_um2 / (max(hours, 1e-9) / HOURS_PER_YEAR) if surface_um2 > 0 else 0.0
    return {
        "resorption_um3_per_d": float(change[MINERAL_REMOVED] * per_day),
        "formation_um3_per_d": float(change[MINERAL_FORMED] * per_day),
        "activation_frequency_per_yr": float(frequency),
    }


def measure_niche(state: State, world: World, plasma: float) -> dict[str, float]:
    """Return means over marrow of suitability and fields, and the drug on and in bone."""
    voxels = state.voxels
    marrow = (voxels.is_bone == 0) & (voxels.sinusoid == 0)
    endosteal = marrow & (voxels.contact > 0)
    row = {
        "suitability_mean": float(voxels.suitability[marrow].mean()) if marrow.any() else np.nan,
        "suitability_endosteal": float(voxels.suitability[endosteal].mean()) if endosteal.any() else np.nan,
        "plasma_nmol_per_L": float(plasma),
        "drug_surface_fmol": float(state.drug[:, voxels.exposed > 0].sum()),
        "drug_buried_fmol": float(state.drug[:, voxels.exposed == 0].sum()),
    }
    means = state.fields.concentration[:, voxels.is_bone == 0].mean(axis=1)
    return row | {f"{name}_nmol_per_L": float(mean) for name, mean in zip(FIELD_NAMES, means)}


def measure_mineral(state: State, world: World, step: int, hours: float, markers: Markers) -> dict[str, float]:
    """Return mineral times its degree of mineralisation at `step`, as um3 of fully mineralised bone."""
    laid = state.voxels.laid
    # The bone of the scene was laid at step 0 of no clock: it counts as mature.
    degree = np.where(laid == 0, 1.0, find_degree((step - laid) * hours, markers))
    return {"bone_mineral_content_um3": float((state.voxels.mineral * degree).sum() / FULL * world.volume_um3)}


def observe(
    state: State, world: World, before: np.ndarray, hours: float, plasma: float, origin: np.ndarray
) -> dict[str, Any]:
    """Return one row of the series; its counters count from tally `origin`, that of time 0."""
    bone = measure_bone(state, world)
    turnover = measure_turnover(state, world, before, hours, bone["bone_surface_um2"])
    counts = {name: int((state.tally - origin)[COUNTER_NAMES.index(name)]) for name in CUMULATIVE}
    return count_cells(state) | bone | turnover | measure_niche(state, world, plasma) | counts


def split_index(voxel: np.ndarray, world: World) -> dict[str, np.ndarray]:
    """Return the coordinates z, y, x of flat indices."""
    z, y, x = np.unravel_index(voxel, (world.nz, world.ny, world.nx))
    return {"z": z.astype(np.int32), "y": y.astype(np.int32), "x": x.astype(np.int32)}


def list_cells(state: State, world: World, step: int, hours: float) -> pd.DataFrame:
    """Return every living cell as a row, in order of identity."""
    n = int(state.living[0])
    c = state.cells
    kind = c.kind[:n]
    mode = np.where(kind == DTC, np.array(MODE_NAMES)[c.mode[:n]], "")
    frame = pd.DataFrame({
        "step": step, "time_h": step * hours, "ident": c.ident[:n], "parent": c.parent[:n], "clone": c.clone[:n],
        "kind": np.array(KIND_NAMES)[kind], "state": mode, **split_index(c.voxel[:n], world),
        "age_h": (step - c.born[:n]) * hours, "polarisation": c.polarisation[:n], "nuclei": c.nuclei[:n],
        "load_fmol_per_um2": np.where(kind == OSTEOCLAST, state.load[:n].sum(axis=1), 0.0),
    })  # fmt: skip
    return frame.sort_values("ident", kind="stable").reset_index(drop=True)


def _name_cause(event: int, cause: int) -> str:
    if event in (LOG_DEATH, LOG_WAKE):
        return OUTCOME_NAMES[cause]
    return BMU_OUTCOMES[cause] if event == LOG_BMU_END else ""


def list_events(log: np.ndarray, world: World, hours: float) -> pd.DataFrame:
    """Return rows of the event log, shape (rows, len(LOG_COLUMNS)), with names instead of numbers."""
    column = dict(zip(LOG_COLUMNS, log.T))
    kinds = np.array([*KIND_NAMES, "bmu"])
    return pd.DataFrame({
        "step": column["step"], "time_h": column["step"] * hours,
        "event": np.array(LOG_NAMES)[column["event"]],
        "cause": [_name_cause(e, c) for e, c in zip(column["event"], column["cause"])],
        "kind": kinds[column["kind"]],
        "ident": column["ident"].astype(np.uint64), "parent": column["parent"].astype(np.uint64),
        "clone": column["clone"], **split_index(column["voxel"], world),
    })  # fmt: skip


def draw_maps(state: State, world: World) -> dict[str, np.ndarray]:
    """Return copies of the maps that a picture needs, each of shape (nz, ny, nx)."""
    voxels = state.voxels
    marrow = (voxels.is_bone == 0) & (voxels.sinusoid == 0)
    area = np.maximum(voxels.exposed, 1) * world.face_um2 * world.surface_factor
    maps = {
        "mineral": voxels.mineral / FULL,
        "sinusoid": voxels.sinusoid == 1,
        "suitability": np.where(marrow, voxels.suitability, np.nan),
        "drug_surface": np.where(voxels.exposed > 0, state.drug.sum(axis=0) / area, 0.0),
        "laid_step": voxels.laid.copy(),
        "bmu": voxels.owner >= 0,
    }
    return {name: array.reshape(world.nz, world.ny, world.nx) for name, array in maps.items()}
