"""Where a cell is, in the words of a biologist, and the event of a cell with its place and what it met there."""

import numpy as np

from niche_sim.kernel import inner
from niche_sim.kinds import (
    BESIDE_VESSEL,
    IN_MARROW,
    ON_FORMING_BMU,
    ON_LINING,
    ON_OPEN_BMU,
    SUITABILITY_PARTS,
    TGF_BETA,
    TGF_BETA_PARTS,
)
from niche_sim.state import log_event
from niche_sim.surface import has_quiescent_lining, touches_bmu


@inner
def find_place(state, world, v):
    """Return the place of marrow voxel `v`, an index of PLACE_NAMES.

    An open BMU comes before resting lining, as in the hazards of dormancy; bone that is neither is held by a BMU that forms.
    """
    if touches_bmu(state, world, v):
        bone = ON_OPEN_BMU
    elif has_quiescent_lining(state, world, v):
        bone = ON_LINING
    elif state.voxels.contact[v] > 0:
        bone = ON_FORMING_BMU
    else:
        bone = IN_MARROW
    return bone + (BESIDE_VESSEL if state.voxels.perivascular[v] == 1 else 0)


@inner
def describe_place(state, world, v):
    """Return place, TGF-beta and suitability of marrow voxel `v` as the event log holds them."""
    tgf_beta = np.int64(state.fields.concentration[TGF_BETA, v] * TGF_BETA_PARTS + 0.5)
    return find_place(state, world, v), tgf_beta, np.int64(state.voxels.suitability[v] * SUITABILITY_PARTS + 0.5)


@inner
def log_cell(state, world, step, event, cause, row, parent):
    """Append what happens to the cell in `row`, with its place, to the event log."""
    cells = state.cells
    v = cells.voxel[row]
    log_event(state, step, event, cause, cells.kind[row], cells.ident[row], parent, cells.clone[row], v)
    last = state.log_count[0] - 1
    place, tgf_beta, suitability = describe_place(state, world, v)
    state.log[last, 8], state.log[last, 9], state.log[last, 10] = place, tgf_beta, suitability
