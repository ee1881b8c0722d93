"""What a run recorded of the lattice, written for ParaView (VTK) and napari (OME-Zarr)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from niche_sim.errors import InputError
from niche_sim.kinds import KIND_NAMES, MODE_NAMES, TERM_NAMES, TRAIT_NAMES
from niche_sim.lattice import SECTION_UM
from niche_sim.store import Result, load, reserve
from niche_sim.store.folder import write_file
from niche_sim.view.common import find_voxel_um
from niche_sim.view.ome_zarr import encode_image, find_step
from niche_sim.view.palette import CELLS
from niche_sim.view.vtk import write_image, write_points, write_series

FORMATS = ("vtk", "ome-zarr", "both")
UNITS = {"drug_surface": "fmol_per_um2", "drug_buried": "fmol_per_um2", "laid_step": "tick"}  # of maps; the others have none
LABELS = {number: (mark.label, mark.colour) for number, mark in enumerate(CELLS.values(), start=1)}


def export_result(directory: Path, target: Path, *, format: str = "both", arms: Sequence[str] = ()) -> list[Path]:
    """Write maps, fields and cells of a run into a new folder, which appears whole or not at all.

    Parameters
    ----------
    directory : Path
        Of a run.
    target : Path
        The folder to create.
    format : str
        One of FORMATS.
    arms : sequence of str
        All if empty.

    Returns
    -------
    list of Path
        What to open: the .pvd and .ome.zarr of each arm.

    Raises
    ------
    InputError
        No run, no such arm, nothing recorded, or the folder exists and is not empty.
    ResourceError
        The disk is full; nothing is left behind.
    """
    result = load(directory)
    if Path(target).resolve().is_relative_to(Path(directory).resolve()):
        raise InputError(f"{target}: is inside the result; choose a folder beside it")
    for arm in arms:
        if arm not in result.arms:
            raise InputError(f"{directory}: no arm {arm!r}; there is {', '.join(result.arms)}")
    chosen = list(dict.fromkeys(arms)) or result.arms
    if not any(result.map_names(arm) or result.field_names(arm) for arm in chosen) and not len(result.cells):
        raise InputError(
            f"{directory}: recorded no maps, fields or cells; run with record.pictures, record.fields or record.cells"
        )
    writers = {"vtk": _write_vtk, "ome-zarr": _write_ome}
    opened: list[Path] = []
    with reserve(Path(target)) as place:
        for arm in chosen:
            for name in writers if format == "both" else (format,):
                for path, content in writers[name](result, arm):
                    write_file(place.partial / arm / path, content)
                    opened += [Path(target) / arm / path] if path.endswith(".pvd") else []
            opened += [Path(target) / arm / folder.name for folder in sorted((place.partial / arm).glob("*.ome.zarr"))]
        write_file(place.partial / "README.txt", explain(result, chosen).encode())
        place.publish()
    return opened


def explain(result: Result, arms: Sequence[str]) -> str:
    """Return what the numbers in the files mean."""
    kinds = ", ".join(f"{number} {name}" for number, name in enumerate(KIND_NAMES))
    modes = ", ".join(f"{number} {name}" for number, name in enumerate(MODE_NAMES))
    terms = ", ".join(f"{number} {name}" for number, name in enumerate(TERM_NAMES))
    traits = ", ".join(f"{bit} {name}" for bit, name in TRAIT_NAMES.items())
    labels = ", ".join(f"{number} {name}" for number, (name, _) in LABELS.items())
    return (
        f"{result.manifest['name']}, arms {', '.join(arms)}; result {result.manifest['result_hash']}\n\n"
        "Lengths are in um, times in h. The corner of voxel (0, 0, 0) is the origin; a cell is at the middle of its voxel.\n"
        "y runs down in the figures of niche_sim and in napari, up in ParaView.\n\n"
        f"kind: {kinds}\nstate: {modes}, -1 no tumour cell\ntrait (sums of): {traits}\n"
        f"limiting_term: {terms}, -1 none\nlabels of OME-Zarr: 0 none, {labels}\n"
        "mineral, sinusoid, bmu, suitability: 0 to 1; laid_step: tick at which bone was last laid; fields: nmol/L\n"
    )


def _spacing(result: Result, planes: int) -> tuple[float, float, float]:
    """Return the edges of a voxel along x, y and z (um); a patch of one plane is a section of its own depth."""
    voxel = find_voxel_um(result)
    return voxel, voxel, SECTION_UM if planes == 1 else voxel


def _name_map(name: str) -> str:
    return f"{name}_{UNITS[name]}" if name in UNITS else name


def _read_volumes(result: Result, arm: str) -> Iterator[tuple[str, np.ndarray, dict[str, np.ndarray]]]:
    """Yield `maps` and `fields`, those recorded, with their times (h) and volumes of shape (t, z, y, x)."""
    if result.map_names(arm):
        yield "maps", result.map_times_h(arm), {_name_map(n): result.maps(arm, n) for n in result.map_names(arm)}
    if result.field_names(arm):
        names = result.field_names(arm)
        yield "fields", result.field_times_h(arm), {f"{n}_nmol_per_L": result.fields(arm, n) for n in names}


def _read_cells(result: Result, arm: str) -> pd.DataFrame:
    cells = result.cells
    return cells[cells["arm"] == arm] if len(cells) else cells


def _find_planes(result: Result, arm: str) -> int:
    """Return the number of planes, from an image if one was recorded, else from the state at the end."""
    for _, _, volumes in _read_volumes(result, arm):
        return int(next(iter(volumes.values())).shape[1])
    return 1 if len(result.experiment_mapping["scene"].get("size", ())) == 2 else 2


def _number(column: pd.Series, names: Sequence[str]) -> np.ndarray:
    return column.map({name: number for number, name in enumerate(names)}).fillna(-1).to_numpy("i1")


def _number_traits(column: pd.Series) -> np.ndarray:
    bits = {name: bit for bit, name in TRAIT_NAMES.items()}
    return np.array([sum(bits[word] for word in text.split("+") if word) for text in column], "u1")


def _write_points(cells: pd.DataFrame, spacing: tuple[float, float, float]) -> bytes:
    places = (cells[["x", "y", "z"]].to_numpy(float) + 0.5) * spacing
    return write_points(places, {
        "kind": _number(cells["kind"], KIND_NAMES), "state": _number(cells["state"], MODE_NAMES),
        "trait": _number_traits(cells["trait"]), "ident": cells["ident"].to_numpy("u8"),
        "parent": cells["parent"].to_numpy("u8"), "clone": cells["clone"].to_numpy("i8"),
        "age_h": cells["age_h"].to_numpy("f4"),
    })  # fmt: skip


def _write_vtk(result: Result, arm: str) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each file: a .vti or .vtp a time and a .pvd that lists them."""
    for group, times, volumes in _read_volumes(result, arm):
        spacing = _spacing(result, next(iter(volumes.values())).shape[1])
        names = [f"vtk/{group}_{number:04d}.vti" for number in range(len(times))]
        for number, name in enumerate(names):
            yield name, write_image({key: volume[number] for key, volume in volumes.items()}, spacing)
        yield f"{group}.pvd", write_series(zip(times, names))
    cells = _read_cells(result, arm)
    if len(cells):
        spacing, listed = _spacing(result, _find_planes(result, arm)), []
        for number, (time, held) in enumerate(cells.groupby("time_h")):
            listed.append((float(time), f"vtk/cells_{number:04d}.vtp"))
            yield listed[-1][1], _write_points(held, spacing)
        yield "cells.pvd", write_series(listed)


def _label_cells(cells: pd.DataFrame, times: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the label of the cell in each voxel at each time, 0 where there is none."""
    named = cells["state"].where(cells["state"] != "", cells["kind"])
    labels = named.map({name: number for number, name in enumerate(CELLS, start=1)})
    snapshots = {round(float(time), 6): number for number, time in enumerate(times)}
    number = cells["time_h"].round(6).map(snapshots)
    shown = number.notna()
    volume = np.zeros(shape, "u1")
    places = [cells.loc[shown, axis].to_numpy() for axis in "zyx"]
    volume[(number[shown].to_numpy(int), *places)] = labels[shown].to_numpy("u1")
    return volume


def _write_ome(result: Result, arm: str) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each file: an image of the maps with cells as labels, one of the fields, points as CSV."""
    cells = _read_cells(result, arm)
    for group, times, volumes in _read_volumes(result, arm):
        shape = next(iter(volumes.values())).shape
        labels = {"cells": (_label_cells(cells, times, shape), LABELS)} if group == "maps" and len(cells) else None
        image = encode_image(f"{arm} {group}", volumes, times, _spacing(result, shape[1])[::-1], labels)
        for path, content in image.items():
            yield f"{group}.ome.zarr/{path}", content
    if len(cells):
        times = result.map_times_h(arm) if result.map_names(arm) else cells["time_h"].unique()
        yield "cells.csv", _write_csv(cells, times, _spacing(result, _find_planes(result, arm)))


def _write_csv(cells: pd.DataFrame, times: np.ndarray, spacing: tuple[float, float, float]) -> bytes:
    """Return the cells as napari reads points: the axes t, z, y and x (um) of the image of the maps; then what they are."""
    moments = cells["time_h"].to_numpy(float)
    placed = moments if find_step(times) else np.interp(moments, times, np.arange(len(times)))
    table = pd.DataFrame({"axis-0": placed})
    for number, (axis, edge) in enumerate(zip("zyx", spacing[::-1]), start=1):
        table[f"axis-{number}"] = (cells[axis].to_numpy(float) + 0.5) * edge
    kept = cells[["time_h", "kind", "state", "trait", "ident", "parent", "clone", "age_h"]].reset_index(drop=True)
    return pd.concat([table, kept], axis=1).to_csv(index_label="index", lineterminator="\n").encode()
