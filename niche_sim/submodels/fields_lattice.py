"""The lattice of a file about fields alone, and what its places, formulas and files give on it."""

import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from niche_sim.errors import InputError, ResourceError
from niche_sim.submodels.fields_formula import evaluate, list_names
from niche_sim.submodels.fields_places import PlaceModel, SourceModel, VoxelModel
from niche_sim.submodels.fields_spec import AXES, FieldsModel

FMOL = 1e-9  # fmol in 1 um3 at 1 nmol/L


class Grid(NamedTuple):
    """A lattice and all that does not change in time; voxels in the order z, y, x.

    Attributes
    ----------
    shape : tuple of int
        Voxels along z, y, x; 1 along axes that are not there.
    ndim : int
    voxel_um, volume_um3 : float
    places : ndarray of int64, shape (3, n)
        Number along x, y, z.
    neighbours : ndarray of int32, shape (n, 2 ndim)
        -1 beyond a closed or fixed face.
    exchange : ndarray of float64, shape (n, 2 ndim), 1/h
    is_wall, is_sealed : ndarray of bool, shape (n,)
        Sealed voxels are walls that let nothing through: they hold nothing.
    uptake, face_loss : ndarray of float64, shape (n,), 1/h
    face_gain : ndarray of float64, shape (n,), nmol/L/h
        Through fixed faces a voxel gets face_gain - face_loss c.
    closed, periodic : bool
        Whether no axis, or every axis longer than a voxel, closes on itself.
    names : dict
        Values of the names in formulas.
    """

    shape: tuple[int, int, int]
    ndim: int
    voxel_um: float
    volume_um3: float
    places: np.ndarray
    neighbours: np.ndarray
    exchange: np.ndarray
    is_wall: np.ndarray
    is_sealed: np.ndarray
    uptake: np.ndarray
    face_loss: np.ndarray
    face_gain: np.ndarray
    closed: bool
    periodic: bool
    names: dict[str, Any]

    @property
    def n(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape))


def load_array(beside: Path, name: str, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the numbers of a .npy file beside the specification, one a voxel.

    Raises
    ------
    InputError
        It is no regular file there, holds anything but finite numbers, or has another shape than the lattice.
    """
    path = beside / name
    if os.path.islink(path) or not path.is_file():
        raise InputError(f"{name}: no such file beside the specification; expected a .npy file there")
    try:
        data = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # the reader raises many kinds for a damaged file
        raise InputError(f"{name}: cannot be read ({error}); expected numbers saved by numpy.save") from None
    if not isinstance(data, np.ndarray) or data.dtype.kind not in "buif":
        raise InputError(f"{name}: does not hold numbers")
    if tuple(n for n in data.shape if n != 1) != tuple(n for n in shape if n != 1):
        raise InputError(f"{name}: its shape is {data.shape}; the lattice is {shape} along z, y, x")
    values = np.ascontiguousarray(data, dtype=np.float64).ravel()
    if not np.isfinite(values).all():
        raise InputError(f"{name}: holds values that are not finite")
    return values


def find_voxel(grid: Grid, voxel: VoxelModel) -> int:
    """Return the flat index of a voxel given by axis."""
    return ((voxel.z or 0) * grid.shape[1] + (voxel.y or 0)) * grid.shape[2] + voxel.x


def select(spec: FieldsModel, grid: Grid, place: PlaceModel) -> np.ndarray:
    """Return the voxels of a place, shape (n,)."""
    if place.mask is not None:
        return load_array(spec.beside, place.mask, grid.shape) != 0.0
    if place.at is not None:
        inside = np.zeros(grid.n, bool)
        inside[find_voxel(grid, place.at)] = True
        return inside
    inside = np.ones(grid.n, bool)
    for i, axis in enumerate(AXES):
        pair = getattr(place.box, axis, None)
        if pair is not None:
            inside &= (grid.places[i] >= pair[0]) & (grid.places[i] <= pair[1])
        pair = getattr(place.between, axis, None)
        if pair is not None:
            inside &= (grid.names[axis] >= pair[0]) & (grid.names[axis] < pair[1])
    return inside


def read_values(spec: FieldsModel, grid: Grid, owner: Any, constant: float | None, t: float = 0.0) -> np.ndarray:
    """Return a value a voxel: constant, from a formula, or from a file."""
    if owner.formula is not None:
        return evaluate(owner.formula, grid.names | {"t": t}, grid.n)
    if owner.values is not None:
        return load_array(spec.beside, owner.values, grid.shape)
    return np.full(grid.n, constant or 0.0)


def _select_open(spec: FieldsModel, grid: Grid, place: PlaceModel, where: str) -> np.ndarray:
    """Return the voxels of a place that can hold anything; there must be one."""
    inside = select(spec, grid, place) & ~grid.is_sealed
    if not inside.any():
        raise InputError(f"{where}: there is no voxel outside walls at this place")
    return inside


def _spread(spec: FieldsModel, grid: Grid, place: PlaceModel, amount: float, where: str) -> np.ndarray:
    """Return an amount (fmol) spread evenly over the open voxels of a place, nmol/L."""
    inside = _select_open(spec, grid, place, where)
    return np.where(inside, amount / (int(inside.sum()) * grid.volume_um3 * FMOL), 0.0)


def read_secretion(spec: FieldsModel, grid: Grid, i: int, t: float) -> np.ndarray:
    """Return what source `i` secretes at a time (h), nmol/L/h; nothing in sealed walls."""
    source: SourceModel = spec.sources[i]
    if source.amount is not None:
        return _spread(spec, grid, source, source.amount, f"sources.{i}")
    values = read_values(spec, grid, source, source.secretion, t)
    return np.where(_select_open(spec, grid, source, f"sources.{i}"), values, 0.0)


def read_release(spec: FieldsModel, grid: Grid, i: int) -> np.ndarray:
    """Return what release `i` adds, nmol/L."""
    release = spec.releases[i]
    if release.amount is not None:
        return _spread(spec, grid, release, release.amount, f"releases.{i}")
    return np.where(_select_open(spec, grid, release, f"releases.{i}"), release.concentration or 0.0, 0.0)


def read_initial(spec: FieldsModel, grid: Grid) -> np.ndarray:
    """Return the field at time 0, nmol/L; nothing in sealed walls."""
    values = read_values(spec, grid, spec.initial, spec.initial.value)
    return np.where(grid.is_sealed, 0.0, values)


def sum_amount(grid: Grid, values: np.ndarray) -> float:
    """Return the amount (fmol) of values in nmol/L; the sum is rounded once, so its order does not matter."""
    return math.fsum(values.tolist()) * grid.volume_um3 * FMOL


def changes_in_time(source: SourceModel) -> bool:
    """Tell whether a source has a formula with t."""
    return source.formula is not None and "t" in list_names(source.formula)


def check_work(updates: float, most: float) -> None:
    """Raise ResourceError if a run in time needs more updates of a voxel than allowed."""
    if updates > most:
        raise ResourceError(
            f"time: needs {updates:.1e} updates of voxels, at most {most:.0e}; take larger ones, or less time"
        )
