"""Where the drug is: on the surface of bone, and buried under bone that was laid since."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from niche_sim.store import Result
from niche_sim.view import palette
from niche_sim.view.common import find_voxel_um, list_regimens, middle, name_moment
from niche_sim.view.lattice import MOST_COLUMNS, choose_snapshots, draw_scale_bar
from niche_sim.view.palette import FAINT

DECADES = 2.5  # that a colour bar spans
SHOWN = ("drug_surface", "drug_buried")
BURIED = LinearSegmentedColormap.from_list("buried", ["#ffe3b8", "#f08a24", "#8c2d04"])
COLOURS: tuple[Colormap, Colormap] = (palette.DRUG, BURIED)


def _has_drug(result: Result, arm: str) -> bool:
    names = result.map_names(arm)
    return all(name in names and len(result.map_times_h(arm)) and result.maps(arm, name).max() > 0 for name in SHOWN)


def _draw_patch(ax: Axes, result: Result, arm: str, index: int, norms: list[LogNorm]) -> None:
    """Draw one patch: bone grey, drug on its surface blue, buried drug orange; the shares below."""
    mineral = middle(result.maps(arm, "mineral")[index])
    ax.imshow(np.where(mineral >= 0.5, 1.0, np.nan), cmap="Greys", vmin=0, vmax=4, interpolation="nearest")
    amounts = []
    for name, colours, norm in zip(SHOWN, COLOURS, norms):
        volume = result.maps(arm, name)[index]
        amounts.append(float(volume.sum()))
        plane = middle(volume)
        ax.imshow(np.where(plane > norm.vmin, plane, np.nan), cmap=colours, norm=norm, interpolation="nearest")
    total = sum(amounts)
    ax.set(xticks=[], yticks=[])
    text = f"buried {100 * amounts[1] / total:.0f} % of what is in bone" if total > 0 else "no drug in bone"
    ax.set_xlabel(text, fontsize=9.5, labelpad=5)
    draw_scale_bar(ax, mineral.shape[1], mineral.shape[0], find_voxel_um(result))


def drug_sheet(result: Result) -> Figure | None:
    """Return pictures of drug on and in bone, a row a treated arm, a column a recorded time; None without drug."""
    arms = [arm for arm in result.arms if _has_drug(result, arm)]
    if not arms:
        return None
    times = result.map_times_h(arms[0])
    filled = [i for i in range(len(times)) if any(result.maps(arm, SHOWN[0])[i].max() > 0 for arm in arms)]
    chosen = [filled[i] for i in choose_snapshots(times[filled], None)][:MOST_COLUMNS]
    size = (3.6 * len(chosen) + 2.4, 4.0 * len(arms) + 0.7)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(arms), len(chosen), squeeze=False)
    regimens = list_regimens(result)
    for row, arm in enumerate(arms):
        tops = [float(result.maps(arm, name)[chosen].max()) for name in SHOWN]
        norms = [LogNorm(top / 10**DECADES, top, clip=True) for top in tops]
        for column, index in enumerate(chosen):
            _draw_patch(axes[row][column], result, arm, index, norms)
            axes[0][column].set_title(name_moment(float(times[index])), fontsize=13)
        axes[row][0].set_ylabel(f"{arm}\n{regimens[arm][:60]}", fontsize=9.5)
        for norm, colours, label in zip(norms, COLOURS, ("on the surface", "buried")):
            bar = figure.colorbar(ScalarMappable(norm, colours), ax=list(axes[row]), shrink=0.7, aspect=25, pad=0.015)
            bar.set_label(f"{label} (fmol per µm² of face)", fontsize=9, color=FAINT)
            bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}"))
            bar.ax.yaxis.set_minor_formatter(NullFormatter())
            bar.outline.set_visible(False)
    figure.suptitle("Where the drug is", fontsize=14, fontweight="bold", x=0.01, ha="left")
    return figure
