"""Cells as small stamps on an image of numbers: all cells of a kind at once, whatever their number."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from niche_sim.kinds import CYCLING, DTC, KIND_NAMES
from niche_sim.view.frame import CellTable

EDGE, BODY, NUCLEUS = 1, 2, 3


class Stamp(NamedTuple):
    """How one kind of cell is drawn."""

    radius: float  # voxels
    least: float  # radius, pixels
    nuclei: int
    edge: bool  # whether it has a light one


STAMPS = {  # names and order as in palette.CELLS: tumour cells on top; larger than cells, so that they are found
    "precursor": Stamp(0.18, 1.0, 0, False),
    "macrophage": Stamp(0.42, 1.5, 0, True),
    "osteoblast": Stamp(0.42, 1.5, 0, True),
    "osteoclast": Stamp(1.05, 4.0, 4, True),
    "dormant": Stamp(0.80, 3.5, 1, True),
    "cycling": Stamp(0.70, 3.0, 1, True),
}


def name_looks(cells: CellTable) -> np.ndarray:
    """Return for each cell the number of its look in STAMPS, as uint8."""
    looks = list(STAMPS)
    numbers = np.array([looks.index("dormant" if name == "dtc" else name) for name in KIND_NAMES], np.uint8)
    found = numbers[cells.kind]
    found[(cells.kind == DTC) & (cells.mode == CYCLING)] = looks.index("cycling")
    return found


def find_radius(look: str, scale: int) -> float:
    """Return the radius (pixels) of a look where a voxel is `scale` pixels wide; discs are round at a half-integer."""
    radius = max(STAMPS[look].radius * scale, STAMPS[look].least)
    return radius if radius < 2.0 else float(np.floor(radius)) + 0.5


@lru_cache(maxsize=256)
def cut_stamp(look: str, scale: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return offsets (dy, dx) of the pixels of a stamp and what each is: EDGE, BODY or NUCLEUS."""
    stamp, radius = STAMPS[look], find_radius(look, scale)
    edge = max(1.0, 0.16 * radius) if stamp.edge else 0.0
    reach = int(np.ceil(radius + edge))
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    far = np.hypot(dy, dx)
    part = np.where(far <= radius, BODY, np.where(far <= radius + edge, EDGE, 0))
    if radius >= 4.0:
        for y, x in _place_nuclei(stamp.nuclei, 0.45 * radius):
            part[(np.hypot(dy - y, dx - x) <= (0.42 if stamp.nuclei == 1 else 0.22) * radius) & (part == BODY)] = NUCLEUS
    drawn = part > 0
    return dy[drawn], dx[drawn], part[drawn].astype(np.uint8)


def _place_nuclei(count: int, radius: float) -> list[tuple[float, float]]:
    if count < 2:
        return [(0.0, 0.0)] * count
    turns = 2 * np.pi * (np.arange(count) / count + 0.1)
    return [(float(radius * np.sin(turn)), float(radius * np.cos(turn))) for turn in turns]


def cut_ring(radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return offsets and parts of a ring around a cell: a dark line between light ones."""
    reach = int(np.ceil(radius + 4))
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    far = np.hypot(dy, dx) - radius
    drawn = np.abs(far) <= 2.5
    return dy[drawn], dx[drawn], np.where(np.abs(far[drawn]) <= 1.5, BODY, EDGE).astype(np.uint8)


def press(
    image: np.ndarray, y: np.ndarray, x: np.ndarray, stamp: tuple[np.ndarray, np.ndarray, np.ndarray], first: int
) -> None:
    """Press a stamp on an image at pixels (y, x), in place; later cells lie over earlier ones.

    A pixel of part k becomes `first + k - 1`; what falls beside the image is cut off.
    """
    dy, dx, part = stamp
    rows, columns = (y[:, None] + dy).ravel(), (x[:, None] + dx).ravel()
    inside = (rows >= 0) & (rows < image.shape[0]) & (columns >= 0) & (columns < image.shape[1])
    colours = np.broadcast_to(part + np.uint8(first - 1), (len(y), len(part))).ravel()
    image[rows[inside], columns[inside]] = colours[inside]
