"""Colours and marks that stay apart for colour-blind readers, and how tissue is painted.

Most colours are those of Okabe and Ito; the others were chosen so that what must be told apart is, also without red, green
or blue cones (`tests/test_plot.py` simulates that and holds the least distance).
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

INK, FAINT = "#22262b", "#686d73"
ARMS = ("#333333", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8a3ffc")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))


class Mark(NamedTuple):
    """How a kind of cell is drawn."""

    label: str
    colour: str
    marker: str
    size: float  # points, on a patch of 100 voxels
    edge: str
    width: float


CELLS = {  # in the order of drawing: tumour cells on top
    "precursor": Mark("osteoclast precursor", "#aa8fb0", ".", 2.6, "none", 0.0),
    "macrophage": Mark("macrophage", "#0f8e60", "s", 3.2, "none", 0.0),
    "osteoblast": Mark("osteoblast", "#269ede", "s", 3.4, "none", 0.0),
    "osteoclast": Mark("osteoclast", "#7b2d8b", "h", 8.5, "white", 0.7),
    "dormant": Mark("dormant DTC", "#E69F00", "o", 6.5, "white", 0.6),
    "cycling": Mark("cycling DTC", "#D62728", "o", 4.4, "white", 0.35),
}

MARROW, BONE, NEW_BONE, SINUSOID = "#fdf6ee", "#d4cba7", "#97af9b", "#eebec7"
OUTLINE = "#8d8066"
DRUG = LinearSegmentedColormap.from_list("drug", ["#bfe0ff", "#2f9bff", "#0037b3"])
SUITABILITY, FIELD = "viridis", "magma"

WAKES = (  # label, column, colour
    ("spontaneous", "dtc_wakes_spontaneous", "#555555"), ("released factors", "dtc_wakes_factors", "#D55E00"),
    ("lining lost", "dtc_wakes_lining", "#56B4E9"), ("sprouting vessel", "dtc_wakes_sprouting", "#CC79A7"),
)  # fmt: skip
DEATHS = (
    ("baseline", "dtc_deaths_baseline", "#c8c8c8"), ("deprivation", "dtc_deaths_deprivation", "#E69F00"),
    ("drug contact", "dtc_deaths_drug", "#0072B2"), ("immune", "dtc_deaths_immune", "#009E73"),
    ("phagocytosis", "dtc_deaths_phagocytosis", "#56B4E9"), ("chemotherapy", "dtc_deaths_chemotherapy", "#CC79A7"),
    ("lack of oxygen", "dtc_deaths_hypoxia", "#F0E442"),
)  # fmt: skip


class Term(NamedTuple):
    """How a term of niche suitability is drawn: its colour, and that of a number on it."""

    label: str
    colour: str
    ink: str


TERMS = {
    "contact": Term("contact", "#0072B2", "white"), "cxcl12": Term("CXCL12", "#56B4E9", INK),
    "nourishment": Term("nourishment", "#D55E00", "white"), "places": Term("places held by stem cells", "#3b3b3b", "white"),
    "macrophages": Term("macrophages", "#009E73", "white"),
}  # fmt: skip


def pick_arm(number: int) -> dict[str, Any]:
    """Return colour and dash of the arm of that number."""
    return {"color": ARMS[number % len(ARMS)], "linestyle": DASHES[(number // len(ARMS)) % len(DASHES)]}


def clear_map(name: str, bad: str) -> Colormap:
    """Return a colour map that paints what is not a number in colour `bad`."""
    from matplotlib import colormaps

    return colormaps[name].with_extremes(bad=bad)


def read_rgb(colour: str) -> np.ndarray:
    """Return red, green and blue (0 to 1) of a colour written as #rrggbb."""
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255.0


def write_css(colour: np.ndarray) -> str:
    """Return #rrggbb of red, green and blue in bytes."""
    red, green, blue = (int(part) for part in colour)
    return f"#{red:02x}{green:02x}{blue:02x}"


def paint_tissue(mineral: np.ndarray, sinusoid: np.ndarray, laid_step: np.ndarray) -> np.ndarray:
    """Return colours of one plane: marrow, sinusoids, bone by its mineral, bone laid since time 0 in green.

    Parameters
    ----------
    mineral : ndarray, shape (ny, nx)
        0 to 1.
    sinusoid : ndarray of bool, shape (ny, nx)
    laid_step : ndarray of int, shape (ny, nx)
        Tick at which bone was last laid; above 0 since time 0.

    Returns
    -------
    ndarray, shape (ny, nx, 3)
    """
    image = np.broadcast_to(read_rgb(MARROW), (*mineral.shape, 3)).copy()
    image[sinusoid.astype(bool)] = read_rgb(SINUSOID)
    bone = np.where((laid_step > 0)[..., None], read_rgb(NEW_BONE), read_rgb(BONE))
    share = np.clip(mineral, 0.0, 1.0)[..., None]
    return image * (1.0 - share) + bone * share


def paint_depth(mineral: np.ndarray) -> np.ndarray:
    """Return colours of a stack seen through: darker where more bone lies behind one another; shape (ny, nx, 3)."""
    share = mineral.mean(axis=0)
    top = max(float(share.max()), 1e-9)
    return read_rgb(MARROW) + (read_rgb("#7d705a") - read_rgb(MARROW)) * (share / top)[..., None] ** 0.8


def list_legend(present: Iterable[str], tissues: Sequence[str]) -> list[Artist]:
    """Return the handles of a legend for the cells that are present and the tissues that were painted."""
    present = set(present)
    cells = [
        Line2D([], [], linestyle="none", marker=mark.marker, markersize=max(mark.size, 5), markerfacecolor=mark.colour,
               markeredgecolor=mark.edge, label=mark.label)
        for name, mark in CELLS.items() if name in present
    ]  # fmt: skip
    paints = {"bone": ("bone", BONE), "new": ("bone laid since time 0", NEW_BONE), "sinusoid": ("sinusoid", SINUSOID),
              "drug": ("drug bound to bone", "#2f9bff")}  # fmt: skip
    return [*cells, *(Patch(facecolor=paints[name][1], label=paints[name][0]) for name in tissues)]
