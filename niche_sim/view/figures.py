"""Figures of a result: the lattice at chosen times, series by arm, the fate of tumour cells, the fields."""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from niche_sim.store import Result, load
from niche_sim.view import palette

HOURS_PER_YEAR = 8766.0
MOST_COLUMNS = 5
SERIES = (
    ("dormant", "dormant DTCs"), ("cycling", "cycling DTCs"), ("osteoclasts", "osteoclasts (30-d mean)"),
    ("osteoblasts", "osteoblasts (30-d mean)"), ("bone_change", "bone volume, change (%)"),
    ("resorption_um3_per_d", "resorption, 90-d mean (um$^3$/d)"), ("suitability_endosteal", "endosteal suitability"),
    ("drug_surface_fmol", "drug on bone surface (fmol)"),
)  # fmt: skip
SMOOTH_DAYS = {"osteoclasts": 30, "osteoblasts": 30, "resorption_um3_per_d": 90}
FATES = (
    ("woke, spontaneous", "dtc_wakes_spontaneous"), ("woke, released factors", "dtc_wakes_factors"),
    ("woke, lining lost", "dtc_wakes_lining"), ("woke, sprouting", "dtc_wakes_sprouting"),
    ("fell asleep", "dtc_sleeps"), ("divided", "dtc_births"), ("arrived", "dtc_arrivals"), ("left", "dtc_egress"),
    ("died, baseline", "dtc_deaths_baseline"), ("died, deprivation", "dtc_deaths_deprivation"),
    ("died, drug contact", "dtc_deaths_drug"), ("died, immune", "dtc_deaths_immune"),
    ("died, phagocytosis", "dtc_deaths_phagocytosis"), ("died, chemotherapy", "dtc_deaths_chemotherapy"),
)  # fmt: skip


def name_time(hours: float) -> str:
    """Return a short label of a time: days below 300 d, years above."""
    return f"{hours / 24:.0f} d" if hours < 300 * 24 else f"{hours / HOURS_PER_YEAR:.2g} yr"


def paint_tissue(mineral: np.ndarray, sinusoid: np.ndarray, laid: np.ndarray, drug: np.ndarray) -> np.ndarray:
    """Return an RGB picture, shape (ny, nx, 3), of one slice: marrow, bone by mineral, new bone, vessels, drug."""
    image = np.broadcast_to(np.array(palette.MARROW), (*mineral.shape, 3)).copy()
    image[sinusoid] = palette.SINUSOID
    bone = np.where((laid > 0)[..., None], palette.NEW_BONE, palette.BONE)
    image = image * (1 - mineral[..., None]) + bone * mineral[..., None]
    if drug.max() > 0:
        strength = np.clip(drug / 1.3e-3, 0, 1)[..., None] ** 0.5
        image = image * (1 - strength) + np.array(palette.DRUG) * strength
    return np.clip(image, 0, 1)


def draw_cells(ax: Axes, cells: pd.DataFrame, scale: float) -> None:
    """Draw each kind of cell of one slice as markers."""
    for name, (_, colour, marker, size) in palette.CELLS.items():
        shown = cells[(cells["state"] == name) | ((cells["kind"] == name) & (cells["state"] == ""))]
        edge = "white" if name in ("dormant", "cycling", "osteoclast") else "none"
        ax.plot(
            shown["x"], shown["y"], marker, color=colour, markersize=size * scale, markeredgecolor=edge,
            markeredgewidth=0.4, linestyle="none",
        )  # fmt: skip


def _draw_patch(ax: Axes, result: Result, arm: str, index: int, time_h: float, voxel_um: float) -> None:
    maps = {name: result.maps(arm, name)[index] for name in ("mineral", "sinusoid", "laid_step", "drug_surface")}
    middle = maps["mineral"].shape[0] // 2
    slices = [maps[name][middle] for name in ("mineral", "sinusoid", "laid_step", "drug_surface")]
    ax.imshow(paint_tissue(slices[0], slices[1].astype(bool), slices[2], slices[3]), interpolation="nearest")
    cells = result.cells
    if len(cells):
        here = (cells["arm"] == arm) & np.isclose(cells["time_h"], time_h) & (cells["z"] == middle)
        draw_cells(ax, cells[here], 100.0 / max(slices[0].shape) if max(slices[0].shape) > 100 else 1.0)
    ax.set_xticks([])
    ax.set_yticks([])
    bar = 500.0 / voxel_um if slices[0].shape[1] * voxel_um > 1200 else 200.0 / voxel_um
    bottom = slices[0].shape[0] * 0.96
    ax.plot([3, 3 + bar], [bottom, bottom], color="black", linewidth=3, solid_capstyle="butt")
    ax.text(3, bottom - 2, f"{bar * voxel_um:.0f} um", fontsize=8, va="bottom")


def lattice_sheet(result: Result) -> Figure | None:
    """Return rows of arms and columns of times; None if no map was recorded."""
    arms = [arm for arm in result.arms if len(result.map_times_h(arm))]
    if not arms:
        return None
    times = result.map_times_h(arms[0])
    shown = np.unique(np.linspace(0, len(times) - 1, min(len(times), MOST_COLUMNS)).round().astype(int))
    voxel = float(str(result.experiment_mapping["scene"]["voxel"]).split()[0])
    figure = Figure(figsize=(3.6 * len(shown) + 0.4, 3.7 * len(arms) + 0.9), layout="constrained")
    axes = figure.subplots(len(arms), len(shown), squeeze=False)
    for row, arm in enumerate(arms):
        for column, index in enumerate(shown):
            ax = axes[row][column]
            _draw_patch(ax, result, arm, int(index), float(times[index]), voxel)
            if row == 0:
                ax.set_title(name_time(float(times[index])))
            if column == 0:
                ax.set_ylabel(arm, fontsize=13)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _legend() -> list[Line2D | Patch]:
    marks: list[Line2D | Patch] = [
        Line2D([], [], color=colour, marker=marker, markersize=max(size, 5), linestyle="none", label=label)
        for label, colour, marker, size in reversed(list(palette.CELLS.values()))
    ]
    tissues = (
        ("bone", palette.BONE), ("bone laid since time 0", palette.NEW_BONE), ("sinusoid", palette.SINUSOID),
        ("drug on bone", palette.DRUG),
    )  # fmt: skip
    return marks + [Patch(facecolor=colour, label=label) for label, colour in tissues]


def prepare_series(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the series of one arm with the change of bone volume and smoothed counts."""
    frame = frame.sort_values("time_h").copy()
    start = frame["bone_volume_fraction"].iloc[0]
    frame["bone_change"] = 100 * (frame["bone_volume_fraction"] / start - 1) if start > 0 else 0.0
    step_days = float(np.median(np.diff(frame["time_h"]))) / 24 if len(frame) > 1 else 1.0
    for name, days in SMOOTH_DAYS.items():
        window = max(1, round(days / step_days))
        frame[name] = frame[name].rolling(window, min_periods=1, center=True).mean()
    return frame


def series_sheet(result: Result) -> Figure | None:
    """Return small multiples of the main series, one colour an arm; None without a series."""
    if not len(result.series):
        return None
    figure = Figure(figsize=(13, 6), layout="constrained")
    axes = figure.subplots(2, 4).ravel()
    for number, (arm, frame) in enumerate(result.series.groupby("arm", sort=False)):
        frame = prepare_series(frame)
        years = frame["time_h"] / HOURS_PER_YEAR
        for ax, (name, label) in zip(axes, SERIES):
            ax.plot(years, frame[name], color=palette.ARMS[number % len(palette.ARMS)], linewidth=1.7, label=arm)
            ax.set_title(label, fontsize=11, loc="left")
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.margins(x=0)
    for ax in axes[4:]:
        ax.set_xlabel("years")
    axes[0].legend(frameon=False)
    return figure


def fate_sheet(result: Result) -> Figure | None:
    """Return bars of what happened to tumour cells by the end, by arm; None without a series."""
    if not len(result.series):
        return None
    last = result.series.groupby("arm", sort=False).last()
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    ax = figure.subplots()
    height = 0.8 / len(last)
    for number, (arm, row) in enumerate(last.iterrows()):
        places = np.arange(len(FATES)) + (number - (len(last) - 1) / 2) * height
        counts = [float(row.get(name, 0)) for _, name in FATES]
        bars = ax.barh(places, counts, height, color=palette.ARMS[number % len(palette.ARMS)], label=str(arm))
        ax.bar_label(bars, fmt="%d", padding=2, fontsize=8)
    ax.set_yticks(range(len(FATES)), [label for label, _ in FATES])
    ax.invert_yaxis()
    ax.set_xscale("symlog", linthresh=10)
    ax.set_xlabel("events of tumour cells until the end (linear to 10, then logarithmic)")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    return figure


def field_sheet(result: Result) -> Figure | None:
    """Return the fields at the last recorded time, a row an arm; None if none was recorded."""
    arms = [arm for arm in result.arms if len(result.field_times_h(arm))]
    if not arms:
        return None
    names = result.field_names(arms[0])
    figure = Figure(figsize=(2.5 * len(names), 2.7 * len(arms)), layout="constrained")
    axes = figure.subplots(len(arms), len(names), squeeze=False)
    for column, name in enumerate(names):
        last = [result.fields(arm, name)[-1] for arm in arms]
        top = max(float(field.max()) for field in last)
        for row, field in enumerate(last):
            ax = axes[row][column]
            image = ax.imshow(field[field.shape[0] // 2], cmap="viridis", vmin=0, vmax=top if top > 0 else 1)
            ax.set_xticks([])
            ax.set_yticks([])
            if row == 0:
                ax.set_title(f"{name} (nmol/L)", fontsize=9)
            if column == 0:
                ax.set_ylabel(arms[row])
        figure.colorbar(image, ax=[axes[row][column] for row in range(len(arms))], location="bottom", shrink=0.8)
    return figure


SHEETS = {"lattice": lattice_sheet, "series": series_sheet, "fate": fate_sheet, "fields": field_sheet}


def draw_figures(result_dir: Path) -> list[Path]:
    """Draw every figure that the result has data for into its folder `figures`, as PNG and SVG.

    Parameters
    ----------
    result_dir : Path

    Returns
    -------
    list of Path
        The files written.
    """
    result = load(result_dir)
    folder = Path(result_dir) / "figures"
    folder.mkdir(exist_ok=True)
    written = []
    with matplotlib.rc_context({"svg.hashsalt": "niche_sim", "font.size": 10}):
        for name, draw in SHEETS.items():
            figure = draw(result)
            if figure is None:
                continue
            FigureCanvasAgg(figure)
            figure.savefig(folder / f"{name}.png", dpi=150)
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            written += [folder / f"{name}.png", folder / f"{name}.svg"]
    return written
