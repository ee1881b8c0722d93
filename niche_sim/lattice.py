"""The lattice: its shape, its neighbour table and how one walks on it."""

from typing import NamedTuple

import numpy as np

from niche_sim.kernel import inner, kernel


class World(NamedTuple):
    """Shape and scale of one lattice.

    Attributes
    ----------
    nz, ny, nx : int
        Voxels along each axis; nz is 1 in 2-D.
    n : int
        Number of voxels.
    ndim : int
        2 or 3.
    voxel_um : float
        Voxel edge (um).
    thickness_um : float
        Depth of a 2-D section (um); the voxel edge in 3-D.
    periodic : bool
        Whether opposite faces touch; closed otherwise.
    face_um2, volume_um3 : float
        Area of a lateral face and volume of a voxel.
    surface_factor : float
        True area of a random surface per area of its staircase: pi/4 in 2-D (Crofton), 2/3 in 3-D.
    neighbours : ndarray of int32, shape (n, 2 * ndim)
        Flat index of each face neighbour, -1 beyond a closed boundary.
    reach : ndarray of int32, shape (m, 3)
        Offsets (dz, dy, dx) within the reach of an osteoclast or osteoblast, nearest first.
    around : ndarray of int32, shape (k, 3)
        Offsets within 50 um, used for the local normal of the bone surface, nearest first.
    """

    nz: int
    ny: int
    nx: int
    n: int
    ndim: int
    voxel_um: float
    thickness_um: float
    periodic: bool
    face_um2: float
    volume_um3: float
    surface_factor: float
    neighbours: np.ndarray
    reach: np.ndarray
    around: np.ndarray


SECTION_UM = 20.0  # depth of a 2-D section: one cell, whatever the voxel edge
REACH_UM = 25.0
AROUND_UM = 50.0


def list_offsets(ndim: int, voxel_um: float, radius_um: float) -> np.ndarray:
    """Return offsets (dz, dy, dx) no further than `radius_um`, nearest first, own voxel included."""
    r = int(radius_um / voxel_um)
    axes = [np.arange(-r, r + 1)] * 3
    if ndim == 2:
        axes[0] = np.zeros(1, dtype=int)
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    square = (grid**2).sum(axis=1)
    near = square * voxel_um**2 <= radius_um**2 + 1e-9
    order = np.argsort(square[near], kind="stable")
    return np.ascontiguousarray(grid[near][order].astype(np.int32))


def build_neighbours(shape: tuple[int, int, int], periodic: bool) -> np.ndarray:
    """Return the table of face neighbours, shape (n, 2 * ndim), -1 beyond a closed boundary."""
    index = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    axes = (1, 2) if shape[0] == 1 else (0, 1, 2)
    columns = []
    for axis in axes:
        for shift in (1, -1):
            moved = np.roll(index, shift, axis=axis)
            if not periodic:
                edge = [slice(None)] * 3
                edge[axis] = slice(0, 1) if shift == 1 else slice(-1, None)
                moved[tuple(edge)] = -1
            columns.append(moved.ravel())
    return np.ascontiguousarray(np.stack(columns, axis=1))


def build_world(shape: tuple[int, int, int], voxel_um: float, periodic: bool) -> World:
    """Return the lattice of `shape` (nz, ny, nx)."""
    nz, ny, nx = (int(k) for k in shape)
    ndim = 2 if nz == 1 else 3
    thickness = SECTION_UM if ndim == 2 else float(voxel_um)
    return World(
        nz, ny, nx, nz * ny * nx, ndim, float(voxel_um), thickness, bool(periodic),
        voxel_um * thickness, voxel_um**2 * thickness, np.pi / 4 if ndim == 2 else 2 / 3,
        build_neighbours((nz, ny, nx), periodic),
        list_offsets(ndim, voxel_um, max(REACH_UM, voxel_um)),
        list_offsets(ndim, voxel_um, max(AROUND_UM, voxel_um)),
    )  # fmt: skip


def split_index(voxel: np.ndarray, world: World) -> dict[str, np.ndarray]:
    """Return the coordinates z, y, x of flat indices."""
    z, y, x = np.unravel_index(voxel, (world.nz, world.ny, world.nx))
    return {"z": z.astype(np.int32), "y": y.astype(np.int32), "x": x.astype(np.int32)}


@kernel
def count_cubes(world):
    """Return the 20 um cubes in a voxel: densities of cells are per such cube, whatever the voxel edge."""
    return world.volume_um3 / SECTION_UM**3


@kernel
def wrap(i, n, periodic):
    """Return coordinate `i` on an axis of `n` voxels, or -1 beyond a closed boundary."""
    if 0 <= i < n:
        return i
    return i % n if periodic else -1


@inner
def displace(world, voxel, dz, dy, dx):
    """Return the flat index of `voxel` moved by an offset, or -1 beyond a closed boundary."""
    x = wrap(voxel % world.nx + dx, world.nx, world.periodic)
    y = wrap((voxel // world.nx) % world.ny + dy, world.ny, world.periodic)
    z = wrap(voxel // (world.nx * world.ny) + dz, world.nz, world.periodic)
    if x < 0 or y < 0 or z < 0:
        return -1
    return (z * world.ny + y) * world.nx + x
