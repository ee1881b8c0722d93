"""Kernel of motility alone: the engine's own migration, tick after tick, with the way of every cell unwrapped."""

from niche_sim.kernel import inner, kernel
from niche_sim.processes import migration
from niche_sim.schedule import Tick


@inner
def _shortest(step, length, periodic):
    """Return a displacement by the shortest way round; cells hop less than half a lattice in a tick."""
    if periodic:
        if 2 * step > length:
            return step - length
        if 2 * step < -length:
            return step + length
    return step


@kernel
def move_cells(state, rates, world, host, hours, key, first, ticks, way):
    """Run `ticks` ticks of migration and add the displacement of each cell (voxels; z, y, x) to `way`, shape (cells, 3)."""
    cells, voxels = state.cells, world.nx * world.ny
    for i in range(ticks):
        for row in range(state.living[0]):
            v = cells.voxel[row]
            way[row, 0] -= v // voxels
            way[row, 1] -= (v // world.nx) % world.ny
            way[row, 2] -= v % world.nx
            cells.born[row] = v
        migration.run(state, rates, world, host, Tick(first + i, hours, key))
        for row in range(state.living[0]):
            v, w = cells.voxel[row], cells.born[row]
            dz = v // voxels - w // voxels
            dy = (v // world.nx) % world.ny - (w // world.nx) % world.ny
            dx = v % world.nx - w % world.nx
            way[row, 0] += w // voxels + _shortest(dz, world.nz, world.periodic)
            way[row, 1] += (w // world.nx) % world.ny + _shortest(dy, world.ny, world.periodic)
            way[row, 2] += w % world.nx + _shortest(dx, world.nx, world.periodic)
