"""Observers: what is read off a niche at a recorded time, as plain rows and arrays."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from niche_sim.kinds import (
    BMU_OUTCOMES,
    COUNTER_NAMES,
    CYCLING,
    DIE_BASELINE,
    DIE_HYPOXIA,
    DIVIDE,
    DORMANT,
    DTC,
    FIELD_NAMES,
    FULL,
    GROWTH_RISK,
    KIND_NAMES,
    LOG_BMU_END,
    LOG_COLUMNS,
    LOG_DEATH,
    LOG_MUTATION,
    LOG_NAMES,
    LOG_SEED,
    LOG_WAKE,
    MACROPHAGE,
    MODE_NAMES,
    N_OUTCOMES,
    N_SEEDED,
    NICHE_NAMES,
    NO_PLACE,
    OSTEOBLAST,
    OSTEOCLAST,
    OUTCOME_NAMES,
    PLACE_NAMES,
    PRECURSOR,
    SUITABILITY_PARTS,
    TERM_NAMES,
    TGF_BETA_PARTS,
    TRAIT_NAMES,
    WAKE_SPONTANEOUS,
    WAKE_SPROUTING,
)
from niche_sim.lattice import World, split_index
from niche_sim.markers import Markers, find_degree
from niche_sim.places import describe_place
from niche_sim.processes.suitability import survey
from niche_sim.state import State
from niche_sim.turnover import measure_bone, measure_turnover

WAKES = range(WAKE_SPONTANEOUS, WAKE_SPROUTING + 1)
TUMOUR_DEATHS = range(DIE_BASELINE, DIE_HYPOXIA + 1)
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


def _survey(state: State, rates: Any, world: World) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of losses by niche and term with the voxels of each niche, and the term that limits each voxel."""
    losses, limits = np.zeros((len(NICHE_NAMES), len(TERM_NAMES) + 1)), np.zeros(world.n, np.int8)
    survey(state, rates, world, losses, limits)
    return losses, limits


def measure_losses(state: State, rates: Any, world: World) -> dict[str, float]:
    """Return the loss of suitability of each niche, the mean of -ln S over its voxels, and the share of each term in it.

    The loss is NaN in a niche without voxels; the shares are NaN where nothing is lost.
    """
    row = {}
    for niche, (*sums, count) in zip(NICHE_NAMES, _survey(state, rates, world)[0]):
        total = sum(sums)
        row[f"suitability_loss_{niche}"] = float(total / count) if count else np.nan
        for term, part in zip(TERM_NAMES, sums):
            row[f"suitability_share_{term}_{niche}"] = float(part / total) if total > 0.0 else np.nan
    return row


def measure_niche(state: State, rates: Any, world: World, plasma: float) -> dict[str, float]:
    """Return suitability by niche and what lowers it, means of fields over marrow, and the drug on and in bone."""
    voxels = state.voxels
    marrow = (voxels.is_bone == 0) & (voxels.sinusoid == 0)
    niches = {"mean": marrow, "endosteal": marrow & (voxels.contact > 0), "perivascular": voxels.perivascular == 1}
    row = {
        f"suitability_{name}": float(voxels.suitability[niche].mean()) if niche.any() else np.nan
        for name, niche in niches.items()
    }
    row |= measure_losses(state, rates, world)
    row |= {
        "plasma_nmol_per_L": float(plasma),
        # Drug by drug, so that one that is nowhere changes no bit of the sum.
        "drug_surface_fmol": float(sum(amount[voxels.exposed > 0].sum() for amount in state.drug)),
        "drug_buried_fmol": float(sum(amount[voxels.exposed == 0].sum() for amount in state.drug)),
    }
    means = state.fields.concentration[:, voxels.is_bone == 0].mean(axis=1)
    return row | {f"{name}_nmol_per_L": float(mean) for name, mean in zip(FIELD_NAMES, means)}


def measure_risk(passed: np.ndarray) -> dict[str, float]:
    """Return the mean hazards (1/d) to which tumour cells were exposed, from what was added to the risk of the state.

    Of dormant cells `hazard_wake_ROUTE_per_d` and `hazard_death_CAUSE_per_d`; `growth_division_per_d` and
    `growth_death_per_d` of a cycling cell at the free places of marrow, each counting alike: what a lesion that fills them
    has. NaN where none was at risk. `dormant_cell_days` is for how long, in days, times for how many.
    """
    at_risk = passed[:, N_OUTCOMES]
    with np.errstate(invalid="ignore"):
        mean = 24.0 * passed[:, :N_OUTCOMES] / np.where(at_risk > 0.0, at_risk, np.nan)[:, None]
    row = {f"hazard_wake_{OUTCOME_NAMES[k]}_per_d": float(mean[DORMANT, k]) for k in WAKES}
    row |= {f"hazard_death_{OUTCOME_NAMES[k]}_per_d": float(mean[DORMANT, k]) for k in TUMOUR_DEATHS}
    growth = mean[GROWTH_RISK]
    return row | {
        "growth_division_per_d": float(growth[DIVIDE]),
        "growth_death_per_d": float(growth[DIE_BASELINE : DIE_HYPOXIA + 1].sum()),
        "dormant_cell_days": float(at_risk[DORMANT]) / 24.0,
    }  # fmt: skip


def measure_mineral(state: State, world: World, step: int, hours: float, markers: Markers) -> dict[str, float]:
    """Return mineral times its degree of mineralisation at `step`, as um3 of fully mineralised bone."""
    degree = find_degree((step - state.voxels.laid.astype(np.int64)) * hours, markers)
    return {"bone_mineral_content_um3": float((state.voxels.mineral * degree).sum() / FULL * world.volume_um3)}


def observe(
    state: State, rates: Any, world: World, before: np.ndarray, ticks: int, tick_h: float, plasma: float, origin: np.ndarray
) -> dict[str, Any]:
    """Return one row of the series: rates since tally `before`, `ticks` ago; counters from `origin`, that of time 0."""
    bone = measure_bone(state, world)
    turnover = measure_turnover(state, world, before, ticks, tick_h, bone["bone_surface_um2"])
    counts = {name: int((state.tally - origin)[COUNTER_NAMES.index(name)]) for name in CUMULATIVE}
    return count_cells(state) | bone | turnover | measure_niche(state, rates, world, plasma) | counts


def _name_traits(traits: int) -> str:
    return "+".join(name for bit, name in TRAIT_NAMES.items() if traits & bit)


def list_cells(state: State, world: World, step: int, hours: float) -> pd.DataFrame:
    """Return every living cell as a row, in order of identity."""
    n = int(state.living[0])
    c = state.cells
    kind = c.kind[:n]
    mode = np.where(kind == DTC, np.array(MODE_NAMES)[c.mode[:n]], "")
    frame = pd.DataFrame({
        "step": step, "time_h": step * hours, "ident": c.ident[:n], "parent": c.parent[:n], "clone": c.clone[:n],
        "kind": np.array(KIND_NAMES)[kind], "state": mode, **split_index(c.voxel[:n], world),
        "trait": [_name_traits(trait) if k == DTC else "" for trait, k in zip(c.trait[:n], kind)],
        "age_h": (step - c.born[:n]) * hours, "polarisation": c.polarisation[:n], "nuclei": c.nuclei[:n],
        "load_fmol_per_um2": np.where(kind == OSTEOCLAST, state.load[:n].sum(axis=1), 0.0),
    })  # fmt: skip
    return frame.sort_values("ident", kind="stable").reset_index(drop=True)


def _name_cause(event: int, cause: int) -> str:
    if event in (LOG_DEATH, LOG_WAKE):
        return OUTCOME_NAMES[cause]
    if event == LOG_SEED:
        return MODE_NAMES[cause]
    if event == LOG_MUTATION:
        return _name_traits(cause)
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
        "clone": column["clone"], **split_index(column["voxel"], world), "place": np.array(PLACE_NAMES)[column["place"]],
        "tgf_beta_nmol_per_L": _scale(column["tgf_beta"], column["place"], TGF_BETA_PARTS),
        "suitability": _scale(column["suitability"], column["place"], SUITABILITY_PARTS),
    })  # fmt: skip


def _scale(values: np.ndarray, place: np.ndarray, parts: float) -> np.ndarray:
    return np.where(place == NO_PLACE, np.nan, values / parts)


def list_seeds(state: State, world: World) -> np.ndarray:
    """Return the tumour cells of the start as rows of the event log: the cause is the mode they were seeded in."""
    c = state.cells
    rows = np.flatnonzero(c.kind[: state.living[0]] == DTC)
    log = np.zeros((len(rows), len(LOG_COLUMNS)), "i8")
    for entry, row in zip(log, rows):
        v = c.voxel[row]
        entry[:8] = 0, LOG_SEED, c.mode[row], DTC, np.int64(c.ident[row]), np.int64(c.parent[row]), c.clone[row], v
        entry[8:] = describe_place(state, world, v)
    return log


def _draw_suitability(state: State, rates: Any, world: World) -> np.ndarray:
    marrow = (state.voxels.is_bone == 0) & (state.voxels.sinusoid == 0)
    return np.where(marrow, state.voxels.suitability, np.nan)


def _draw_surface_drug(state: State, rates: Any, world: World) -> np.ndarray:
    exposed = state.voxels.exposed
    area = np.maximum(exposed, 1) * world.face_um2 * world.surface_factor
    return np.where(exposed > 0, state.drug.sum(axis=0) / area, 0.0)


def _draw_buried_drug(state: State, rates: Any, world: World) -> np.ndarray:
    return np.where(state.voxels.exposed > 0, 0.0, state.drug.sum(axis=0) / world.face_um2)


MAPS: dict[str, Callable[[State, Any, World], np.ndarray]] = {
    "mineral": lambda state, rates, world: state.voxels.mineral / FULL,
    "sinusoid": lambda state, rates, world: state.voxels.sinusoid == 1,
    "suitability": _draw_suitability,
    "limiting_term": lambda state, rates, world: _survey(state, rates, world)[1],
    "drug_surface": _draw_surface_drug,
    "drug_buried": _draw_buried_drug,
    "laid_step": lambda state, rates, world: state.voxels.laid.copy(),
    "bmu": lambda state, rates, world: state.voxels.owner >= 0,
}


def draw_maps(state: State, rates: Any, world: World, names: Iterable[str] = tuple(MAPS)) -> dict[str, np.ndarray]:
    """Return copies of the maps that a picture needs, each of shape (nz, ny, nx); all of MAPS unless told.

    Numbers are in single precision, which tells every quantum of mineral from the next: a picture takes 23 bytes a voxel.
    """
    maps = {name: MAPS[name](state, rates, world).reshape(world.nz, world.ny, world.nx) for name in names}
    return {name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in maps.items()}
