"""Egress: a cycling tumour cell beside a sinusoid returns to blood, from where it may lodge again or leave for good."""

from typing import NamedTuple

from niche_sim.kernel import inner
from niche_sim.kinds import CYCLING, DTC, EGRESS

READS = ("living", "cells.voxel", "cells.kind", "cells.mode", "voxels.perivascular")
WRITES = ("hazard",)


class Rates(NamedTuple):
    """Rate of egress; units in UNITS."""

    rate: float


UNITS = {"rate": "1/h"}


@inner
def run(state, rates, world, host, tick):
    """Write the egress hazard of cycling tumour cells beside a vessel."""
    cells = state.cells
    for row in range(state.living[0]):
        beside = state.voxels.perivascular[cells.voxel[row]] == 1
        if cells.kind[row] == DTC and cells.mode[row] == CYCLING and beside:
            state.hazard[row, EGRESS] = rates.egress.rate
