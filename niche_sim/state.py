"""The whole state of one niche: plain arrays in named tuples, nothing hidden, nothing outside.

Writing every array of `flatten(state)` and reading it back restores a niche exactly.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from niche_sim.kernel import inner, kernel
from niche_sim.kinds import (
    COUNTER_NAMES,
    DONE,
    FAULT_CELLS_FULL,
    FAULT_LOG_FULL,
    FORMING,
    FULL,
    HALF,
    LOG_COLUMNS,
    MINERAL_START,
    MOST_TISSUES,
    N_FIELDS,
    N_OUTCOMES,
    N_PHASES,
    NO_PLACE,
    NOTHING,
    RECRUITING,
    RESORBING,
    REVERSAL,
)
from niche_sim.lattice import World, count_cubes
from niche_sim.redblack import folded_shape

# A structured array a table: one row a cell, voxel or BMU. Passing one array instead of a tuple of thirty keeps the
# compiled calls small; compile time grows faster than linearly with the number of arrays in a signature.
CELL = np.dtype([
    ("ident", "u8"),
    ("parent", "u8"),  # 0 for a founder or an immigrant
    ("clone", "i8"),  # number of the lesion's founder
    ("clock", "f8"),  # hours of life left (osteoclast); summed hazard so far (sentinel tumour cell)
    ("polarisation", "f8"),  # macrophage: 0 inflammatory to 1 supportive
    ("voxel", "i4"),
    ("born", "i4"),  # step
    ("bmu", "i4"),  # row of the BMU served, -1 for none
    ("sector", "i2"),  # sector of that BMU
    ("nuclei", "i2"),
    ("kind", "i1"),
    ("mode", "i1"),  # DORMANT or CYCLING
    ("trait", "i1"),  # bits of RESISTANT, ADAPTED, VASCULAR
    ("outcome", "i1"),  # what the draw of this tick chose
], align=True)  # fmt: skip

VOXEL = np.dtype([
    ("stored", "f8"),  # matrix growth factor, 1 for a full fresh voxel
    ("corpse", "f8"),  # hours until a dead cell has dissolved
    ("stroma", "f8"),  # CXCL12-rich stroma, 0 or 1
    ("held", "f8"),  # share of niche places held by haematopoietic stem cells
    ("support", "f8"),  # supportive macrophages per 20 um cube of the marrow within their reach
    ("suitability", "f8"),  # 0 to 1, 0 in bone
    ("last_bmu", "u8"),  # identity of the BMU that last worked here
    ("claim", "u8"),  # highest rank that wants the voxel in this tick
    ("claimer", "i4"),  # row of that cell
    ("mineral", "i4"),  # quanta, 0 to FULL
    ("debt", "i4"),  # quanta removed here and not yet refilled
    ("laid", "i4"),  # step at which bone was last laid
    ("owner", "i4"),  # row of the BMU that holds the voxel, -1 for none
    ("served", "i4"),  # stamp of the step at which an osteoblast last reached the voxel
    ("occupant", "i4"),  # row of the cell, -1 for none
    ("sector", "i2"),
    ("is_bone", "u1"),  # mineral >= HALF
    ("sinusoid", "u1"),
    ("perivascular", "u1"),  # marrow voxel touching a sinusoid
    ("contact", "i1"),  # bone faces of a marrow voxel
    ("exposed", "i1"),  # marrow faces of a bone voxel
], align=True)  # fmt: skip

BMU = np.dtype([
    ("ident", "u8"),
    ("removed", "i8"),  # quanta
    ("lost", "i8"),  # quanta of them that no bone lies under any more: never refilled
    ("filled", "i8"),  # quanta
    ("signal", "f8"),  # released matrix factor that calls osteoblasts, in full voxels
    ("since", "i4"),  # step at which the phase began
    ("origin", "i4"),  # voxel
    ("idle", "i4"),  # ticks without a place to fill
    ("claims", "i4"),  # voxels held
    ("phase", "i1"),  # FREE marks an unused row
    ("perforated", "i1"),  # whether the cavity cut through the bone
    ("footprint", "f8"),  # um2 of surface that the start opened
], align=True)  # fmt: skip

# A BMU that ended. Steps are those at which it entered a phase, NEVER for one that it did not reach.
FINISHED = np.dtype([
    ("ident", "u8"),
    ("footprint", "f8"),  # um2
    ("removed", "i8"),  # quanta
    ("filled", "i8"),  # quanta
    ("origin", "i4"),  # voxel
    ("recruiting", "i4"),
    ("resorbing", "i4"),
    ("reversal", "i4"),
    ("forming", "i4"),
    ("ended", "i4"),
    ("outcome", "i1"),  # as in BMU_OUTCOMES
    ("perforated", "i1"),
], align=True)  # fmt: skip


class Fields(NamedTuple):
    """Diffusing concentrations at steady state, one row a field in the order of FIELD_NAMES."""

    concentration: np.ndarray  # float64 (fields, n), nmol/L
    secretion: np.ndarray  # float64 (fields, n), nmol/L/h
    uptake: np.ndarray  # float64 (fields, n), 1/h
    gathered: np.ndarray  # float64 (n,), scratch of the processes that add up a source
    folded: np.ndarray  # float64 redblack.folded_shape, scratch of the solver
    changed: np.ndarray  # uint8 (fields,), sources or walls moved since the last solution
    solves: np.ndarray  # int64 (fields, 2): solutions and sweeps so far


class State(NamedTuple):
    """Everything that changes while a niche lives. The first `living[0]` rows of cells live; rows move, identities stay."""

    living: np.ndarray  # int64 (1,)
    cells: Any  # structured array CELL (capacity,)
    load: np.ndarray  # float64 (capacity, drugs): fmol/um2 swallowed (osteoclast), nmol/L inside (macrophage)
    hazard: np.ndarray  # float64 (capacity, outcomes), 1/h, scratch of one tick
    wish: np.ndarray  # int32 (capacity,), voxel that a cell wants, scratch of one round
    voxels: Any  # structured array VOXEL (n,), flat index (z * ny + y) * nx + x
    drug: np.ndarray  # float64 (drugs, n), fmol bound in a voxel: surface-bound if exposed, else buried
    reserve: np.ndarray  # float64 (2, n), fmol of released TGF-beta and IGF-1 not yet let go
    release: np.ndarray  # float64 (2, n), fmol/h at which the reserve goes, set once a day
    fields: Fields
    bmus: Any  # structured array BMU (capacity,)
    entered: np.ndarray  # int32 (bmus, N_PHASES), step at which the BMU entered each phase
    normal: np.ndarray  # float64 (bmus, 3), from bone to marrow
    site: np.ndarray  # int32 (bmus, sectors), voxel where precursors meet
    duty: np.ndarray  # int8 (bmus, sectors), NO_SECTOR, VACANT, OCCUPIED, DONE
    claimed: np.ndarray  # int32 (bmus, most voxels)
    eroder: np.ndarray  # int32 (bmus, sectors), row of the osteoclast at work, scratch of one tick
    tally: np.ndarray  # int64 (counters,)
    drug_ledger: np.ndarray  # float64 (drugs, 4): fmol deposited, in osteoclasts, excreted after bone, about to bind
    body: np.ndarray  # float64 (drugs, MOST_TISSUES + 1): fmol that left bone and is in plasma and tissues again
    share: np.ndarray  # float64 (1,): um2 of bone surface at time 0, the niche's share of the skeleton
    shared: np.ndarray  # float64 (drugs,): share of each drug in what desorbed in this tick
    opened: np.ndarray  # float64 (2,): um2 of surface opened by recent births, and their number, both with forgetting
    blood: np.ndarray  # float64 (1,): tumour cells shed into blood and still there
    reference: np.ndarray  # float64 (2,): RANKL and OPG at quiescent surface while oestradiol is replete, nmol/L
    risk: np.ndarray  # float64 (4, N_OUTCOMES + 1): summed hazards x h of tumour cells, last the h at risk; see risk.py
    log: np.ndarray  # int64 (rows, len(LOG_COLUMNS)), events since the last recording
    log_count: np.ndarray  # int64 (1,)
    finished: Any  # structured array FINISHED (rows of the log,), BMUs that ended since the last recording
    finished_count: np.ndarray  # int64 (1,)
    fault: np.ndarray  # int64 (4,): code, step, voxel, field


def _table(rows: int, dtype: np.dtype) -> Any:
    return np.zeros(rows, dtype).view(np.recarray)


def allocate_fields(world: World) -> Fields:
    """Return fields at zero that are all to be solved."""
    f = (N_FIELDS, world.n)
    folded = np.zeros(folded_shape(world.nz, world.ny, world.nx))
    return Fields(
        np.zeros(f), np.zeros(f), np.zeros(f), np.zeros(world.n), folded, np.ones(N_FIELDS, "u1"),
        np.zeros((N_FIELDS, 2), "i8"),
    )  # fmt: skip


def allocate_state(world: World, *, cells: int, bmus: int, sectors: int, claim: int, drugs: int, log: int) -> State:
    """Return an empty, all-marrow state for a lattice with room for the given numbers."""
    voxels = _table(world.n, VOXEL)
    for name in ("owner", "occupant", "claimer"):
        voxels[name] = -1
    voxels["served"] = np.iinfo(np.int32).min
    return State(
        np.zeros(1, "i8"), _table(cells, CELL), np.zeros((cells, drugs)), np.zeros((cells, N_OUTCOMES)),
        np.full(cells, -1, "i4"), voxels, np.zeros((drugs, world.n)), np.zeros((2, world.n)), np.zeros((2, world.n)),
        allocate_fields(world),
        _table(bmus, BMU), np.zeros((bmus, N_PHASES), "i4"), np.zeros((bmus, 3)),
        np.zeros((bmus, sectors), "i4"), np.zeros((bmus, sectors), "i1"),
        np.zeros((bmus, claim), "i4"), np.full((bmus, sectors), -1, "i4"),
        np.zeros(len(COUNTER_NAMES), "i8"), np.zeros((drugs, 4)),
        np.zeros((drugs, MOST_TISSUES + 1)), np.zeros(1), np.zeros(drugs), np.zeros(2), np.zeros(1), np.zeros(2),
        np.zeros((4, N_OUTCOMES + 1)), np.zeros((log, len(LOG_COLUMNS)), "i8"), np.zeros(1, "i8"),
        _table(log, FINISHED), np.zeros(1, "i8"),
        np.zeros(4, "i8"),
    )  # fmt: skip


def flatten(state: State) -> dict[str, np.ndarray]:
    """Return every array of the state under its dotted name; tables are split into their columns."""
    arrays: dict[str, np.ndarray] = {}
    for name, part in zip(State._fields, state):
        if isinstance(part, Fields):
            arrays |= {f"{name}.{inner}": array for inner, array in zip(Fields._fields, part)}
        elif part.dtype.names:
            arrays |= {f"{name}.{column}": np.asarray(part[column]) for column in part.dtype.names}
        else:
            arrays[name] = part
    return arrays


def _join(columns: dict[str, np.ndarray], dtype: np.dtype) -> Any:
    table = _table(len(next(iter(columns.values()))), dtype)
    for name, column in columns.items():
        table[name] = column
    return table


def rebuild(arrays: dict[str, np.ndarray]) -> State:
    """Return the state whose `flatten` gave `arrays`; nothing is shared with them."""
    tables = {"cells": CELL, "voxels": VOXEL, "bmus": BMU, "finished": FINISHED}
    parts: dict[str, Any] = {}
    for name in State._fields:
        inner = {key.split(".", 1)[1]: array for key, array in arrays.items() if key.startswith(name + ".")}
        if name in tables:
            parts[name] = _join(inner, tables[name])
        else:
            parts[name] = Fields(**{k: v.copy() for k, v in inner.items()}) if inner else arrays[name].copy()
    return State(**parts)


_DRUG_AXIS = {"load": 1, "drug": 0, "drug_ledger": 0, "body": 0, "shared": 0}


def fit_drugs(arrays: dict[str, np.ndarray], before: Sequence[str], now: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the arrays of a state for other drugs: a drug that was not there before is nowhere yet.

    Parameters
    ----------
    arrays : dict of str to ndarray
        As `flatten` returns them.
    before, now : sequence of str
        Drugs in the order of their columns; every drug of `before` that left a trace must be in `now`.
    """
    if list(before) == list(now):
        return arrays
    fitted = dict(arrays)
    for name, axis in _DRUG_AXIS.items():
        old = np.moveaxis(arrays[name], axis, 0)
        new = np.zeros((max(len(now), 1), *old.shape[1:]), old.dtype)
        for column, drug in enumerate(before):
            if drug in now:
                new[list(now).index(drug)] = old[column]
            elif old[column].any():
                raise ValueError(f"{drug} is in the niche and cannot be left out")
        fitted[name] = np.ascontiguousarray(np.moveaxis(new, 0, axis))
    return fitted


def copy_state(state: State) -> State:
    """Return an independent copy."""
    return rebuild(flatten(state))


def clear_records(state: State) -> None:
    """Empty the event log and the table of BMUs that ended, in place: what was recorded is no part of the state."""
    state.log[: state.log_count[0]] = 0
    state.finished[: state.finished_count[0]] = np.zeros(1, FINISHED)
    state.log_count[0] = state.finished_count[0] = 0


def lay_scene(state: State, world: World, bone: np.ndarray, sinusoid: np.ndarray) -> None:
    """Fill tissue, contact counts and walls from boolean masks of shape (nz, ny, nx), in place."""
    voxels = state.voxels
    voxels.mineral[:] = np.where(bone.ravel(), FULL, 0)
    voxels.is_bone[:] = bone.ravel()
    voxels.sinusoid[:] = sinusoid.ravel()
    voxels.stored[:] = bone.ravel()
    count_contacts(voxels, world)
    state.tally[MINERAL_START] = voxels.mineral.sum()


@inner
def _count_one(voxels, world, v):
    bone, marrow, vessel = 0, 0, 0
    for face in range(2 * world.ndim):
        w = world.neighbours[v, face]
        if w >= 0:
            bone += int(voxels.is_bone[w])
            marrow += 1 - int(voxels.is_bone[w])
            vessel += int(voxels.sinusoid[w])
    voxels.contact[v] = 0 if voxels.is_bone[v] else bone
    voxels.exposed[v] = marrow if voxels.is_bone[v] else 0
    voxels.perivascular[v] = 1 if vessel > 0 and not voxels.is_bone[v] and not voxels.sinusoid[v] else 0


@kernel
def count_contacts(voxels, world):
    """Count bone and marrow faces and mark perivascular voxels of the whole lattice, in place."""
    for v in range(world.n):
        _count_one(voxels, world, v)


@inner
def update_tissue(state, world, v):
    """Bring the tissue of voxel `v` and the counts around it in line with its mineral; walls may move."""
    voxels = state.voxels
    is_bone = 1 if voxels.mineral[v] >= HALF else 0
    if is_bone == voxels.is_bone[v]:
        return
    voxels.is_bone[v] = is_bone
    for f in range(N_FIELDS):
        state.fields.changed[f] = 1
    _count_one(voxels, world, v)
    for face in range(2 * world.ndim):
        w = world.neighbours[v, face]
        if w >= 0:
            _count_one(voxels, world, w)


@kernel
def is_free(voxels, v):
    """Tell whether a cell may enter voxel `v`: marrow, not the lumen of a sinusoid, not occupied."""
    return voxels.is_bone[v] == 0 and voxels.sinusoid[v] == 0 and voxels.occupant[v] < 0


@inner
def log_event(state, step, event, cause, kind, ident, parent, clone, voxel):
    """Append a row without a place to the event log; a full log is a fault that Python raises."""
    row = state.log_count[0]
    if row >= state.log.shape[0]:
        state.fault[0], state.fault[1] = FAULT_LOG_FULL, step
        return
    state.log[row, 0], state.log[row, 1], state.log[row, 2], state.log[row, 3] = step, event, cause, kind
    state.log[row, 4], state.log[row, 5] = np.int64(ident), np.int64(parent)
    state.log[row, 6], state.log[row, 7], state.log[row, 8] = clone, voxel, NO_PLACE
    state.log_count[0] = row + 1


@inner
def file_bmu(state, step, slot, outcome):
    """Append the BMU in `slot` to those that ended; its end is in the log too, so this table is full no sooner."""
    row = state.finished_count[0]
    if row >= state.finished.ident.shape[0]:
        return
    done, bmus = state.finished, state.bmus
    done.ident[row], done.origin[row], done.footprint[row] = bmus.ident[slot], bmus.origin[slot], bmus.footprint[slot]
    done.removed[row], done.filled[row] = bmus.removed[slot], bmus.filled[slot]
    done.recruiting[row], done.resorbing[row] = state.entered[slot, RECRUITING], state.entered[slot, RESORBING]
    done.reversal[row], done.forming[row] = state.entered[slot, REVERSAL], state.entered[slot, FORMING]
    done.ended[row], done.outcome[row], done.perforated[row] = step, outcome, bmus.perforated[slot]
    state.finished_count[0] = row + 1



@kernel
def add_cell(state, step, kind, voxel, ident, parent, clone):
    """Put a new cell into a free voxel and return its row, or -1 (a fault) if the table is full."""
    cells = state.cells
    row = state.living[0]
    if row >= cells.ident.shape[0]:
        state.fault[0], state.fault[1], state.fault[2] = FAULT_CELLS_FULL, step, voxel
        return -1
    state.living[0] = row + 1
    cells.ident[row], cells.parent[row], cells.clone[row] = ident, parent, clone
    cells.kind[row], cells.mode[row], cells.voxel[row] = kind, 0, voxel
    cells.born[row], cells.clock[row], cells.nuclei[row] = step, 0.0, 1
    cells.bmu[row], cells.sector[row], cells.polarisation[row] = -1, -1, 0.0
    for d in range(state.load.shape[1]):
        state.load[row, d] = 0.0
    for outcome in range(N_OUTCOMES):
        state.hazard[row, outcome] = 0.0
    cells.outcome[row] = NOTHING
    state.voxels.occupant[voxel] = row
    return row


@inner
def remove_cell(state, row):
    """Take a cell out: its voxel is freed, its sector is done, the last row moves into its place."""
    cells, voxels = state.cells, state.voxels
    voxels.occupant[cells.voxel[row]] = -1
    if cells.sector[row] >= 0:
        state.duty[cells.bmu[row], cells.sector[row]] = DONE
    last = state.living[0] - 1
    if row != last:
        cells[row] = cells[last]
        for d in range(state.load.shape[1]):
            state.load[row, d] = state.load[last, d]
        for outcome in range(N_OUTCOMES):
            state.hazard[row, outcome] = state.hazard[last, outcome]
        voxels.occupant[cells.voxel[row]] = row
    state.living[0] = last


@inner
def count_marrow(state, world):
    """Return the voxels of marrow."""
    marrow = 0
    for v in range(world.n):
        marrow += 1 - int(state.voxels.is_bone[v])
    return marrow


@inner
def measure_fullness(state, world, kind, density, marrow):
    """Return living cells of `kind` over the number that `density` (per 20 um cube) gives in `marrow` voxels: 1 at rest."""
    count = 0
    for row in range(state.living[0]):
        count += 1 if state.cells.kind[row] == kind else 0
    expected = density * marrow * count_cubes(world)
    return count / expected if expected > 0.0 else 1.0


@inner
def move_cell(state, row, voxel):
    """Move a cell into a free voxel."""
    state.voxels.occupant[state.cells.voxel[row]] = -1
    state.cells.voxel[row] = voxel
    state.voxels.occupant[voxel] = row
