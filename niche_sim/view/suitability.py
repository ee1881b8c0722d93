"""Niche suitability before and after: the map, the term that limits each place, and the share of each term in the loss."""

from collections.abc import Sequence
from textwrap import wrap
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from niche_sim.kinds import NO_TERM, TERM_NAMES
from niche_sim.store import Result
from niche_sim.view import palette
from niche_sim.view.common import find_voxel_um, list_regimens, middle, name_moment, shorten
from niche_sim.view.lattice import MOST_COLUMNS, draw_scale_bar
from niche_sim.view.palette import FAINT, INK

NEEDED = ("mineral", "sinusoid", "suitability", "limiting_term")
NICHES = {"endosteal": "at bone", "perivascular": "at vessels"}
LEAST_LABEL = 0.05  # of the highest bar: a thinner part carries no number


class Panel(NamedTuple):
    """One column of the sheet: an arm at one recorded time."""

    title: str
    note: str
    maps: dict[str, np.ndarray]  # (ny, nx), the middle plane
    row: pd.Series  # of the series at that time
    losses: dict[str, np.ndarray]  # (terms,) by niche, means over the rows that the bars stand for


def _average_losses(rows: pd.DataFrame, niche: str) -> np.ndarray:
    """Return the mean loss by each term; a share of nothing is nothing."""
    shares = rows[[f"suitability_share_{name}_{niche}" for name in TERM_NAMES]].fillna(0.0).to_numpy()
    return (shares * rows[[f"suitability_loss_{niche}"]].to_numpy()).mean(axis=0)


def _read_panel(result: Result, arm: str, index: int, title: str, note: str) -> Panel:
    maps = {name: middle(result.maps(arm, name)[index]) for name in NEEDED}
    table = result.series[result.series["arm"] == arm]
    nearest = int((table["time_h"] - result.map_times_h(arm)[index]).abs().to_numpy().argmin())
    late = table[table["time_h"] >= 0.5 * table["time_h"].max()] if index else table.iloc[nearest : nearest + 1]
    return Panel(title, note, maps, table.iloc[nearest], {niche: _average_losses(late, niche) for niche in NICHES})


def _list_panels(result: Result) -> list[Panel]:
    """Return the state at the first picture, at time 0 that of all arms, and each arm at its last one."""
    shown = [arm for arm in result.arms if set(NEEDED) <= set(result.map_names(arm)) and len(result.map_times_h(arm))]
    if not shown or f"suitability_loss_{next(iter(NICHES))}" not in result.series:
        return []
    times, regimens = result.map_times_h(shown[0]), list_regimens(result)
    first = ("before", "all arms") if times[0] == 0 else (shown[0], name_moment(float(times[0])))
    panels = [_read_panel(result, shown[0], 0, *first)]
    if len(times) > 1:
        panels += [_read_panel(result, arm, -1, arm, regimens[arm]) for arm in shown[: MOST_COLUMNS - 1]]
    return panels


def _paint(ax: Axes, panel: Panel, values: np.ndarray, colours: Any, norm: Normalize) -> None:
    """Draw a map of the marrow, with bone and sinusoids in their own colours."""
    bone, lumen = panel.maps["mineral"] >= 0.5, panel.maps["sinusoid"].astype(bool)
    ax.imshow(values, cmap=colours, norm=norm, interpolation="nearest")
    for mask, colour in ((bone, palette.BONE), (lumen & ~bone, palette.SINUSOID)):
        ax.imshow(np.where(mask, 1.0, np.nan), cmap=ListedColormap([colour]), interpolation="nearest")
    ax.set(xticks=[], yticks=[])


def _draw_suitability(ax: Axes, panel: Panel, norm: Normalize) -> None:
    _paint(ax, panel, panel.maps["suitability"], palette.SUITABILITY, norm)
    means = [f"{label} {panel.row[f'suitability_{niche}']:.2f}" for niche, label in NICHES.items()]
    ax.set_xlabel("  ·  ".join(means), fontsize=10, color=INK, labelpad=4)
    lines = [part for line in shorten(panel.note, 62).replace(" every ", "\nevery ").split("\n") for part in wrap(line, 36)]
    ax.set_title(panel.title, fontsize=13, pad=32)
    ax.text(0.5, 1.03, "\n".join(lines[:2]), transform=ax.transAxes, ha="center", va="bottom", fontsize=9, color=FAINT)


def _draw_limits(ax: Axes, panel: Panel) -> None:
    terms = panel.maps["limiting_term"]
    colours = ListedColormap([palette.TERMS[name].colour for name in TERM_NAMES])
    _paint(ax, panel, np.where(terms == NO_TERM, np.nan, terms), colours, Normalize(-0.5, len(TERM_NAMES) - 0.5))


def _draw_bars(ax: Axes, panel: Panel, top: float) -> None:
    """Stack the losses of the two niches; the numbers are shares, in percent."""
    for place, losses in enumerate(panel.losses.values()):
        floors = np.concatenate([[0.0], np.cumsum(losses)])
        for name, floor, height in zip(TERM_NAMES, floors, losses):
            look = palette.TERMS[name]
            ax.bar(place, height, 0.7, bottom=floor, color=look.colour, edgecolor="white", linewidth=0.8)
            if height > LEAST_LABEL * top:
                text = f"{100 * height / losses.sum():.0f} %"
                ax.text(place, floor + height / 2, text, ha="center", va="center", fontsize=9, color=look.ink)
    ax.set_xticks(range(len(NICHES)), list(NICHES.values()))
    ax.set(ylim=(0, 1.05 * top), xlim=(-0.6, len(NICHES) - 0.4))
    ax.spines[["top", "right"]].set_visible(False)


def _name_rows(axes: np.ndarray) -> None:
    for row, text in enumerate(("suitability", "what limits each place most", "loss of suitability, −ln S (1)")):
        axes[row][0].set_ylabel(text, fontsize=11, labelpad=8)
    for ax in axes[2][1:]:
        ax.set_yticklabels([])


def _add_keys(figure: Figure, axes: np.ndarray, norm: Normalize) -> None:
    """Put the colour bar beside the first row, the names of the colours beside the second, a note beside the bars."""
    for ax in axes:
        ax.set_axis_off()
    scale = ScalarMappable(norm, palette.SUITABILITY)
    bar = figure.colorbar(scale, cax=axes[0].inset_axes((0.06, 0.06, 0.09, 0.88)))
    bar.set_label("suitability (0 to 1)", fontsize=9.5, color=FAINT)
    bar.outline.set_visible(False)
    looks = [palette.TERMS[name] for name in TERM_NAMES]
    handles = [Patch(facecolor=look.colour, label=look.label) for look in looks[::-1]]  # as they are stacked
    handles += [Patch(facecolor=palette.BONE, label="bone"), Patch(facecolor=palette.SINUSOID, label="sinusoid")]
    axes[1].legend(handles=handles, loc="center left", bbox_to_anchor=(0, 0.5), frameon=False, fontsize=10)
    text = "numbers: share of the loss\narms: mean over the\nsecond half of the run"
    axes[2].text(0.06, 0.5, text, transform=axes[2].transAxes, va="center", fontsize=10, color=FAINT, linespacing=1.4)


def _find_top(panels: Sequence[Panel]) -> float:
    return max(float(losses.sum()) for panel in panels for losses in panel.losses.values())


def suitability_sheet(result: Result) -> Figure | None:
    """Return maps of suitability and of the limiting term over bars of the losses, a column an arm; None without a loss."""
    panels = _list_panels(result)
    if not panels or not _find_top(panels) > 0:
        return None
    highest = max(float(np.nanquantile(panel.maps["suitability"], 0.999)) for panel in panels)
    norm = Normalize(0.0, min(1.0, np.ceil(10 * highest) / 10))
    size = (2.6 * len(panels) + 2.3, 9.0)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(hspace=0.03, wspace=0.02))
    ratios = [1.0] * len(panels) + [0.72]
    axes = figure.subplots(3, len(panels) + 1, squeeze=False, height_ratios=(1, 1, 0.85), width_ratios=ratios)
    for column, panel in enumerate(panels):
        _draw_suitability(axes[0][column], panel, norm)
        _draw_limits(axes[1][column], panel)
        _draw_bars(axes[2][column], panel, _find_top(panels))
    shape = panels[0].maps["mineral"].shape
    draw_scale_bar(axes[0][0], shape[1], shape[0], find_voxel_um(result))
    _name_rows(axes)
    _add_keys(figure, axes[:, -1], norm)
    last = name_moment(float(result.map_times_h(result.arms[0])[-1]))
    figure.suptitle(f"Niche suitability before and after {last}\n", fontsize=15, fontweight="bold", x=0.01, ha="left")
    return figure
