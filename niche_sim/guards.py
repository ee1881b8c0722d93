"""Guards: what a kernel could only note down, what is no longer a number, a tick that is too long; all raised by name."""

from typing import Any

import numpy as np

from niche_sim.errors import NumericalError, ResourceError
from niche_sim.kinds import (
    FAULT_BMUS_FULL,
    FAULT_CELLS_FULL,
    FAULT_LOG_FULL,
    FAULT_NONE,
    FAULT_TEXTS,
    FIELD_NAMES,
    MOST_HOPS,
    MOST_ROUNDS,
)
from niche_sim.lattice import World
from niche_sim.state import State, flatten

SPEEDS = ("tumour_speed", "precursor_speed", "macrophage_speed")


def raise_fault(state: State, world: World, hours: float, arm: str) -> None:
    """Raise what a kernel could only note down."""
    code, step, voxel, which = (int(k) for k in state.fault)
    if code == FAULT_NONE:
        return
    where = f"arm '{arm}', tick {step} ({step * hours / 24:.1f} d)"
    if code in (FAULT_CELLS_FULL, FAULT_BMUS_FULL, FAULT_LOG_FULL):
        room = {
            FAULT_CELLS_FULL: f"{len(state.cells)} cells", FAULT_BMUS_FULL: f"{len(state.bmus)} BMUs",
            FAULT_LOG_FULL: f"{len(state.log)} events",
        }[code]  # fmt: skip
        raise ResourceError(f"{where}: {FAULT_TEXTS[code]} ({room}); use a shorter run or a smaller patch")
    raise NumericalError(f"{where}: {FAULT_TEXTS[code]}: {FIELD_NAMES[which]} near voxel {voxel}")


def check_finite(state: State, hours: float, arm: str, step: int) -> None:
    """Stop a run in whose state a number is no longer finite, naming variable, place and tick."""
    arrays = flatten(state)
    for name in sorted(arrays, key=lambda name: not name.startswith("fields.")):  # fields first: others follow them
        array = arrays[name]
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            place = [int(k) for k in np.argwhere(~np.isfinite(array))[0]]
            where = f"arm '{arm}', tick {step} ({step * hours / 24:.1f} d)"
            if name == "fields.concentration":
                raise NumericalError(f"{where}: {FIELD_NAMES[place[0]]} is not finite at voxel {place[1]}")
            raise NumericalError(f"{where}: {name} is not finite at {place}")


def check_tick(rates: Any, world: World, hours: float) -> None:
    """Refuse a tick in which a cell would hop more often than its rounds can follow.

    Raises
    ------
    NumericalError
        Naming the speed, the tick and the longest tick that can be followed.
    """
    for name in SPEEDS if rates.switches.migration else ():
        longest = MOST_HOPS * MOST_ROUNDS * world.voxel_um / max(getattr(rates.migration, name), 1e-300)
        if hours > longest:
            raise NumericalError(
                f"migration.{name}: a tick of {hours:g} h is too long for voxels of {world.voxel_um:g} um; "
                f"at most {longest:.3g} h"
            )
