"""From the keys of a file about fields alone to its lattice: neighbours, conductances and sinks."""

from typing import Any

import numpy as np

from niche_sim.errors import InputError
from niche_sim.submodels.fields_formula import evaluate
from niche_sim.submodels.fields_lattice import Grid, read_values, select
from niche_sim.submodels.fields_spec import AXES, AxisModel, FieldsModel


def _build_neighbours(shape: tuple[int, int, int], ndim: int, conditions: list[AxisModel]) -> np.ndarray:
    """Return the table of face neighbours, low face before high, -1 beyond a face that is not periodic."""
    index = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    columns = []
    for place in range(3 - ndim, 3):
        condition = conditions[2 - place]
        for shift in (1, -1):
            moved = np.roll(index, shift, axis=place)
            if condition.low.kind != "periodic" or shape[place] == 1:
                moved[_face(place, shift == 1)] = -1
            columns.append(moved.ravel())
    return np.ascontiguousarray(np.stack(columns, axis=1))


def _face(place: int, low: bool) -> tuple[slice, ...]:
    edge = [slice(None)] * 3
    edge[place] = slice(0, 1) if low else slice(-1, None)
    return tuple(edge)


def _name_places(spec: FieldsModel, places: np.ndarray) -> dict[str, Any]:
    """Return the values of the names in formulas, at the centres of voxels."""
    names: dict[str, Any] = dict(spec.parameters)
    for i, axis in enumerate(AXES):
        names[axis] = (places[i] + 0.5) * spec.voxel_um
        names[f"L{axis}"] = (spec.shape[i] if i < len(spec.shape) else 1) * spec.voxel_um
    names |= {"pi": np.pi, "L": names["Lx"], "dx": spec.voxel_um, "D": spec.diffusion_um2_h, "decay": spec.decay_h, "t": 0.0}
    return names


def build_grid(spec: FieldsModel) -> Grid:
    """Return the lattice of a specification.

    Raises
    ------
    InputError
        A file or formula cannot be used.
    """
    along = spec.shape
    nx, ny, nz = (*along, 1, 1)[:3]
    shape = (nz, ny, nx)
    places = np.stack(np.unravel_index(np.arange(nz * ny * nx), shape)[::-1])
    conditions = spec.list_boundary()
    neighbours = _build_neighbours(shape, len(along), conditions)
    kinds = {c.low.kind == "periodic" for c, length in zip(conditions, along) if length > 1}
    coupling = spec.diffusion_um2_h / spec.voxel_um**2
    depth = spec.depth_um ** (3 - len(along))
    n = len(neighbours)
    bare = Grid(
        shape, len(along), spec.voxel_um, spec.voxel_um ** len(along) * depth, places, neighbours,
        np.zeros(0), np.zeros(n, bool), np.zeros(n, bool), np.zeros(n), np.zeros(n), np.zeros(n), True not in kinds,
        False not in kinds, _name_places(spec, places),
    )  # fmt: skip
    walls = np.zeros(n, bool)
    for place in spec.walls:
        walls |= select(spec, bare, place)
    through_wall = walls[:, None] | walls[neighbours]
    exchange = np.where(through_wall, spec.wall_permeability * coupling, coupling)
    exchange[neighbours < 0] = 0.0
    sealed = walls if spec.wall_permeability == 0.0 else np.zeros(n, bool)
    grid = bare._replace(exchange=exchange, is_wall=walls, is_sealed=sealed)
    loss, gain = _open_faces(spec, grid, coupling)
    return grid._replace(uptake=_sum_uptake(spec, grid), face_loss=loss, face_gain=gain)


def _open_faces(spec: FieldsModel, grid: Grid, coupling: float) -> tuple[np.ndarray, np.ndarray]:
    """Return loss (1/h) and gain (nmol/L/h) of each voxel through fixed faces, half a voxel away: conductance 2 D / dx^2."""
    loss, gain = np.zeros(grid.n), np.zeros(grid.n)
    conductance = np.where(grid.is_wall, spec.wall_permeability, 1.0) * 2.0 * coupling
    for i, condition in enumerate(spec.list_boundary()):
        for low, face in ((True, condition.low), (False, condition.high)):
            if face.kind != "fixed":
                continue
            edge = np.arange(grid.n).reshape(grid.shape)[_face(2 - i, low)].ravel()
            names = {k: v[edge] if isinstance(v, np.ndarray) else v for k, v in grid.names.items()}
            names[AXES[i]] = 0.0 if low else names[f"L{AXES[i]}"]
            value = np.full(len(edge), face.value) if face.formula is None else evaluate(face.formula, names, len(edge))
            loss[edge] += conductance[edge]
            gain[edge] += conductance[edge] * value
    return loss, gain


def _sum_uptake(spec: FieldsModel, grid: Grid) -> np.ndarray:
    total = np.zeros(grid.n)
    for i, uptake in enumerate(spec.uptake):
        total += np.where(select(spec, grid, uptake), read_values(spec, grid, uptake, uptake.rate), 0.0)
        if (total < 0.0).any():
            raise InputError(f"uptake.{i}: is negative somewhere; an uptake is at least 0")
    return np.where(grid.is_sealed, 0.0, total)
