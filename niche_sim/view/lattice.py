"""Pictures of the patch at chosen times: tissue, cells, drug on bone."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from scipy.ndimage import grey_dilation, map_coordinates

from niche_sim.store import Result
from niche_sim.view import palette
from niche_sim.view.common import choose_bar_um, find_voxel_um, list_regimens, middle, name_moment
from niche_sim.view.palette import FAINT, INK

MOST_COLUMNS = 5
REACH = 1  # planes on either side of a slice whose cells are drawn too


def draw_cells(ax: Axes, cells: pd.DataFrame, scale: float) -> list[str]:
    """Draw each kind of cell as markers, tumour cells on top; return the names of those present."""
    present = []
    for order, (name, mark) in enumerate(palette.CELLS.items()):
        shown = cells[(cells["state"] == name) | ((cells["kind"] == name) & (cells["state"] == ""))]
        if len(shown):
            present.append(name)
            ax.plot(
                shown["x"], shown["y"], mark.marker, color=mark.colour, markersize=mark.size * scale,
                markeredgecolor=mark.edge, markeredgewidth=mark.width, linestyle="none", zorder=5 + order, label=name,
            )  # fmt: skip
    return present


def draw_rim(ax: Axes, mineral: np.ndarray, drug: np.ndarray, drug_top: float) -> LineCollection | None:
    """Draw the surface of bone, and over it a bright rim where drug is bound; the rim is returned.

    Parameters
    ----------
    ax : Axes
    mineral : ndarray, shape (ny, nx)
    drug : ndarray, shape (ny, nx)
        Drug bound to the surface (fmol/um2).
    drug_top : float
        The amount drawn brightest (fmol/um2).
    """
    if mineral.min() >= 0.45 or mineral.max() <= 0.45:
        return None
    outline = ax.contour(mineral, levels=[0.45], colors=[palette.OUTLINE], linewidths=0.5, zorder=2)
    if drug_top <= 0 or drug.max() <= 0:
        return None
    spread = grey_dilation(drug, size=(3, 3))
    pieces = [np.stack([line[:-1], line[1:]], axis=1) for line in outline.allsegs[0] if len(line) > 1]
    segments = np.concatenate(pieces)
    centres = segments.mean(axis=1)
    amount = map_coordinates(spread, [centres[:, 1], centres[:, 0]], order=1, mode="nearest") / drug_top
    seen = amount > 1e-3
    rim = LineCollection(
        list(segments[seen]), colors=palette.DRUG(np.sqrt(np.clip(amount[seen], 0, 1))), capstyle="round",
        linewidths=0.8 + 2.0 * np.sqrt(np.clip(amount[seen], 0, 1)), zorder=3, label="drug",
    )  # fmt: skip
    ax.add_collection(rim)
    return rim


def draw_scale_bar(ax: Axes, voxels_across: int, voxels_down: int, voxel_um: float) -> None:
    """Draw a bar of a round length, at most a quarter of the patch."""
    length = choose_bar_um(voxels_across * voxel_um) or voxel_um
    left, bottom = 0.035 * voxels_across, 0.965 * voxels_down
    shade = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5}
    ax.text(left, bottom - 0.02 * voxels_down, f"{length:g} µm", fontsize=9, va="bottom", zorder=20, bbox=shade)
    ax.plot([left, left + length / voxel_um], [bottom] * 2, color=INK, linewidth=3, solid_capstyle="butt", zorder=21)


def draw_lattice(
    ax: Axes, maps: Mapping[str, np.ndarray], cells: pd.DataFrame, voxel_um: float, *, drug_top: float = 0.0,
    depth: bool = False,
) -> list[str]:  # fmt: skip
    """Draw one patch at one time.

    Parameters
    ----------
    ax : Axes
    maps : mapping of str to ndarray, shape (nz, ny, nx)
        mineral, sinusoid, laid_step, drug_surface.
    cells : DataFrame
        Columns kind, state, z, y, x; may be empty.
    voxel_um : float
    drug_top : float
        Surface drug drawn brightest (fmol/um2).
    depth : bool
        Look through all planes, with tumour cells and osteoclasts only; else the middle plane and the cells
        of the planes next to it.

    Returns
    -------
    list of str
        The kinds of cell that are present.
    """
    mineral = maps["mineral"]
    nz, ny, nx = mineral.shape
    frame = (-0.5, nx - 0.5, ny - 0.5, -0.5)
    if depth:
        ax.imshow(palette.paint_depth(mineral), extent=frame, interpolation="bilinear", zorder=1)
        cells = cells[cells["kind"].isin(["dtc", "osteoclast"])] if len(cells) else cells
    else:
        planes = [middle(maps[name]) for name in ("mineral", "sinusoid", "laid_step", "drug_surface")]
        ax.imshow(palette.paint_tissue(*planes[:3]), extent=frame, interpolation="bilinear", zorder=1)
        draw_rim(ax, planes[0], planes[3], drug_top)
        cells = cells[(cells["z"] - nz // 2).abs() <= REACH] if len(cells) else cells
    present = draw_cells(ax, cells, float(np.clip(100 / max(nx, ny), 0.45, 1.4))) if len(cells) else []
    ax.set(xlim=frame[:2], ylim=frame[2:], xticks=[], yticks=[], aspect="equal")
    draw_scale_bar(ax, nx, ny, voxel_um)
    return present


def _cells_at(result: Result, arm: str, hours: float) -> pd.DataFrame:
    cells = result.cells
    return cells[(cells["arm"] == arm) & np.isclose(cells["time_h"], hours)] if len(cells) else cells


def choose_snapshots(times: np.ndarray, wanted: Sequence[float] | None) -> list[int]:
    """Return the indices of the snapshots nearest to the wanted times (h), or a spread of at most five."""
    if wanted is None:
        return [int(i) for i in np.unique(np.linspace(0, len(times) - 1, min(len(times), MOST_COLUMNS)).round())]
    return sorted({int(np.abs(times - hours).argmin()) for hours in wanted})


def _caption_patch(ax: Axes, maps: Mapping[str, np.ndarray], cells: pd.DataFrame, recorded: bool) -> None:
    text = f"bone {100 * float(maps['mineral'].mean()):.1f} %"
    if recorded:
        dormant, cycling = ((cells["state"] == state).sum() for state in ("dormant", "cycling"))
        text = f"DTCs: {dormant} dormant, {cycling} cycling  ·  {text}"
    ax.set_xlabel(text, fontsize=9.5, color=INK, labelpad=5)


def _name_row(ax: Axes, arm: str, regimen: str, note: str) -> None:
    ax.annotate(
        arm, (0, 0.5), xytext=(-26, 0), xycoords="axes fraction", textcoords="offset points", rotation=90, ha="center",
        va="center", fontsize=14, fontweight="bold",
    )  # fmt: skip
    text = f"{regimen}{' · ' if note else ''}{note}"
    ax.set_ylabel(text if len(text) < 54 else text[:52] + "…", fontsize=9, color=FAINT, labelpad=5)


def lattice_sheet(
    result: Result, arms: Sequence[str] | None = None, times: Sequence[float] | None = None
) -> Figure | None:
    """Return pictures of the patch: a row an arm (two for a stack: middle plane, and through it), a column a time (h)."""
    arms = [arm for arm in arms or result.arms if "mineral" in result.map_names(arm) and len(result.map_times_h(arm))]
    if not arms:
        return None
    moments = result.map_times_h(arms[0])
    chosen = choose_snapshots(moments, times)
    stack = result.maps(arms[0], "mineral").shape[1] > 1
    rows = [(arm, depth) for arm in arms for depth in ((False, True) if stack else (False,))]
    top = max(float(np.nanmax(result.maps(arm, "drug_surface")[chosen])) for arm in arms)
    down, across = result.maps(arms[0], "mineral").shape[2:]
    width, height = max(3.5, 4.1 * min(1.0, across / down)), 4.1 * min(1.0, down / across) + 0.35
    size = (width * len(chosen) + (1.9 if top > 0 else 0.7), height * len(rows) + 1.75)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(hspace=0.02, wspace=0.01))
    axes = figure.subplots(len(rows), len(chosen), squeeze=False)
    present = _fill_lattice(result, axes, rows, chosen, moments, top)
    _title(figure, result, stack)
    tissues = ["bone", "new", "sinusoid"] + (["drug"] if top > 0 else [])
    handles = palette.list_legend(present, tissues)
    across = min(len(handles), max(2, round(2.4 * len(chosen))))
    figure.legend(handles=handles, loc="outside lower center", ncols=across, frameon=False)
    if top > 0:
        _add_drug_bar(figure, axes, top)
    return figure


def _fill_lattice(
    result: Result, axes: np.ndarray, rows: list[tuple[str, bool]], chosen: list[int], moments: np.ndarray, top: float
) -> list[str]:
    voxel, regimens, present = find_voxel_um(result), list_regimens(result), set()
    for row, (arm, depth) in enumerate(rows):
        for column, index in enumerate(chosen):
            ax, hours = axes[row][column], float(moments[index])
            names = ("mineral", "sinusoid", "laid_step", "drug_surface")
            maps = {name: result.maps(arm, name)[index] for name in names}
            cells = _cells_at(result, arm, hours)
            present |= set(draw_lattice(ax, maps, cells, voxel, drug_top=top, depth=depth))
            _caption_patch(ax, maps, cells, len(result.cells) > 0)
            if row == 0:
                ax.set_title(name_moment(hours), fontsize=14, pad=8)
        stack = len({depth for _, depth in rows}) > 1
        note = ("seen through, DTCs and osteoclasts" if depth else "middle plane") if stack else ""
        _name_row(axes[row][0], arm, regimens[arm], note)
    return sorted(present)


def _title(figure: Figure, result: Result, stack: bool) -> None:
    arm, voxel = result.arms[0], find_voxel_um(result)
    shape = [edge * voxel / 1000 for edge in result.maps(arm, "mineral").shape[1:][::-1]]
    size = " × ".join(f"{edge:.3g}" for edge in (shape if stack else shape[:2]))
    name = str(result.manifest.get("title") or result.manifest["name"])
    note = f"one patch of {size} mm, voxel {voxel:g} µm, seed {result.manifest['seed']}; markers are larger than cells"
    figure.suptitle(f"{name}\n\n", fontsize=17, fontweight="bold", x=0.012, ha="left")  # the empty lines are for the note
    figure.text(0.012, 1 - 0.5 / figure.get_figheight(), note, fontsize=10.5, color=FAINT, va="top")


def _add_drug_bar(figure: Figure, axes: np.ndarray, top: float) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import PowerNorm

    shown = ScalarMappable(PowerNorm(0.5, 0, top), palette.DRUG)
    bar = figure.colorbar(shown, ax=list(axes.ravel()), location="right", shrink=0.4, aspect=28, pad=0.01)
    bar.set_label("drug on bone surface (fmol/µm²)", fontsize=9, color=FAINT)
    bar.outline.set_visible(False)
