"""A frame: what one arm shows at one time, taken from a living state or read from a result, ready to be painted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from niche_sim.config.problems import suggest
from niche_sim.errors import InputError
from niche_sim.kinds import FIELD_NAMES, KIND_NAMES, MODE_NAMES, TRAIT_NAMES
from niche_sim.lattice import World, split_index
from niche_sim.observers import draw_maps
from niche_sim.state import State
from niche_sim.store import Result

TISSUE = ("mineral", "sinusoid", "laid_step")


class CellTable(NamedTuple):
    """Living cells, one row a cell; arrays of one length that cannot be written to."""

    ident: np.ndarray  # uint64
    clone: np.ndarray  # int64
    kind: np.ndarray  # int8, number in KIND_NAMES
    mode: np.ndarray  # int8, number in MODE_NAMES; of a tumour cell
    z: np.ndarray  # int32, voxel
    y: np.ndarray
    x: np.ndarray
    trait: np.ndarray  # int8, bits of TRAIT_NAMES


@dataclass(frozen=True)
class Frame:
    """What one arm shows at one time; its arrays are copies, so that it can be drawn while the simulation goes on.

    Attributes
    ----------
    arm : str
    time_h : float
    voxel_um : float
        Edge of a voxel (um).
    maps : mapping of str to ndarray, shape (nz, ny, nx)
        mineral (float32, 0 to 1), sinusoid (bool), laid_step (int32, tick at which bone was last laid, above 0 since
        time 0), and the overlay that was asked for (NaN, or NO_TERM, where it is not defined).
    cells : CellTable
    """

    arm: str
    time_h: float
    voxel_um: float
    maps: Mapping[str, np.ndarray]
    cells: CellTable


class Overlay(NamedTuple):
    """A map that can be laid over the tissue.

    Attributes
    ----------
    label, unit : str
    colours : str
        Name of a colour map of `scales`; "terms" and "bmu" of a categorical one.
    scale : str
        linear, sqrt, log or categorical.
    place : str
        Where it is drawn: marrow, surface (of bone), bone, or anywhere.
    """

    label: str
    unit: str
    colours: str
    scale: str
    place: str


OVERLAYS = {
    "tgf_beta": Overlay("TGF-β", "nmol/L", "field", "log", "marrow"),
    "igf1": Overlay("IGF-1", "nmol/L", "field", "log", "marrow"),
    "rankl": Overlay("RANKL", "nmol/L", "field", "log", "marrow"),
    "opg": Overlay("OPG", "nmol/L", "field", "log", "marrow"),
    "pthrp": Overlay("PTHrP", "nmol/L", "field", "log", "marrow"),
    "cxcl12": Overlay("CXCL12", "nmol/L", "field", "log", "marrow"),
    "free_drug": Overlay("free drug", "nmol/L", "field", "log", "marrow"),
    "suitability": Overlay("niche suitability", "0 to 1", "home", "linear", "marrow"),
    "limiting_term": Overlay("what limits suitability most", "", "terms", "categorical", "marrow"),
    "drug_surface": Overlay("drug on bone surface", "fmol/µm²", "drug", "sqrt", "surface"),
    "drug_buried": Overlay("drug buried in bone", "fmol/µm²", "buried", "sqrt", "bone"),
    "bmu": Overlay("remodelling units (BMU)", "", "bmu", "categorical", "anywhere"),
}


def find_overlay(name: str) -> Overlay:
    """Return an overlay by name.

    Raises
    ------
    InputError
        There is none of that name.
    """
    if name not in OVERLAYS:
        raise InputError(f"overlay: there is no {name!r}{suggest(name, OVERLAYS)}")
    return OVERLAYS[name]


def _seal(arrays: Iterable[np.ndarray]) -> None:
    for array in arrays:
        array.flags.writeable = False


def _as_single(maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in maps.items()}


def take_frame(
    state: State, rates: Any, world: World, *, arm: str, time_h: float, overlay: str | None = None
) -> Frame:
    """Return what a living niche shows now; only what is asked for is computed.

    Parameters
    ----------
    state : State
        Not changed, and not shared with the frame.
    rates : Rates
        Of the tick that ended now; read for `limiting_term` only.
    world : World
    arm : str
    time_h : float
    overlay : str, optional
        A name of OVERLAYS.

    Raises
    ------
    InputError
        There is no such overlay.
    """
    names = [*TISSUE]
    shape = (world.nz, world.ny, world.nx)
    maps = {}
    if overlay in FIELD_NAMES:
        field = state.fields.concentration[FIELD_NAMES.index(overlay)]
        maps[overlay] = field.astype(np.float32).reshape(shape)
    elif overlay is not None:
        find_overlay(overlay)
        names.append(overlay)
    maps |= draw_maps(state, rates, world, names)
    cells = _take_cells(state, world)
    _seal([*maps.values(), *cells])
    return Frame(arm, time_h, world.voxel_um, maps, cells)


def _take_cells(state: State, world: World) -> CellTable:
    n = int(state.living[0])
    table = state.cells[:n]
    place = split_index(table["voxel"], world)
    copies = {name: table[name].copy() for name in ("ident", "clone", "kind", "mode", "trait")}
    return CellTable(**copies, **place)


# ---------------------------------------------------------------- from a result


class _Cells(NamedTuple):
    """The recorded cells of one arm with numbers for names, in order of step."""

    step: np.ndarray
    table: CellTable


_CELLS: WeakKeyDictionary[Result, dict[str, _Cells]] = WeakKeyDictionary()  # once a result: names are slow to read


def list_frames(result: Result, arm: str) -> np.ndarray:
    """Return the times (h) of an arm that can be replayed."""
    return result.map_times_h(arm).copy() if set(TISSUE) <= set(result.map_names(arm)) else np.zeros(0)


def read_frame(result: Result, arm: str, index: int, *, overlay: str | None = None) -> Frame:
    """Return what an arm of a stored result showed at one of the times of `list_frames`.

    Parameters
    ----------
    result : Result
    arm : str
    index : int
        Position in `list_frames`; from the end if negative.
    overlay : str, optional
        A name of OVERLAYS. A field is that of the last recorded time up to the frame's.

    Raises
    ------
    InputError
        There is no such arm, time or overlay, or the overlay was not recorded.
    """
    times = list_frames(result, arm)
    if not -len(times) <= index < len(times):
        raise InputError(f"{result.directory}: arm {arm!r} has {len(times)} recorded pictures, so none of number {index}")
    names = [*TISSUE]
    maps = {}
    if overlay in FIELD_NAMES:
        maps[overlay] = _read_field(result, arm, overlay, float(times[index])).copy()
    elif overlay is not None:
        find_overlay(overlay)
        names.append(overlay)
    maps |= _as_single({name: result.maps(arm, name)[index].copy() for name in names})
    mapping = result.experiment_mapping
    cells = _read_cells(result, arm, float(times[index]))
    _seal([*maps.values(), *cells])
    return Frame(arm, float(times[index]), _number(mapping["scene"]["voxel"]), maps, cells)


def _number(text: Any) -> float:
    """Return the number of a quantity of a resolved experiment, which is in inside units."""
    return float(str(text).split()[0])


def _read_field(result: Result, arm: str, name: str, time_h: float) -> np.ndarray:
    recorded = name in result.field_names(arm)
    earlier = np.flatnonzero(result.field_times_h(arm) <= time_h + 1e-9) if recorded else np.zeros(0)
    if not len(earlier):
        raise InputError(
            f"{result.directory}: {OVERLAYS[name].label} was not recorded up to {time_h:g} h; "
            'run again with `--set record.fields="7 d"`'
        )
    return result.fields(arm, name)[int(earlier[-1])]


def _read_cells(result: Result, arm: str, time_h: float) -> CellTable:
    if result not in _CELLS:
        _CELLS[result] = _number_cells(result)
    step = round(time_h / _number(result.experiment_mapping["time"]["tick"]))
    found = _CELLS[result].get(arm)
    if found is None:
        return CellTable(*(np.zeros(0, kind) for kind in ("u8", "i8", "i1", "i1", "i4", "i4", "i4", "i1")))
    rows = slice(*np.searchsorted(found.step, [step, step + 1]))
    return CellTable(*(column[rows].copy() for column in found.table))


def _number_cells(result: Result) -> dict[str, _Cells]:
    """Return the cells of each arm with numbers in place of names."""
    traits = {"+".join(name for bit, name in TRAIT_NAMES.items() if bits & bit): bits for bits in range(8)}
    kinds, modes = ({name: number for number, name in enumerate(names)} for names in (KIND_NAMES, MODE_NAMES))
    numbers = {"kind": kinds, "mode": {"": 0} | modes, "trait": traits}
    found = {}
    for arm, cells in result.cells.groupby("arm", sort=False) if len(result.cells) else ():
        cells = cells.sort_values("step", kind="stable").rename(columns={"state": "mode"})
        coded = {name: cells[name].map(known).to_numpy(np.int8) for name, known in numbers.items()}
        plain = {name: cells[name].to_numpy() for name in ("ident", "clone", "z", "y", "x")}
        found[str(arm)] = _Cells(cells["step"].to_numpy(), CellTable(**plain, **coded))
    return found
