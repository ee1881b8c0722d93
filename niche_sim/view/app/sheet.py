"""The picture that one takes along: the arms beside each other with time, scale, legend and colour bar."""

from collections.abc import Mapping
from io import BytesIO

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from niche_sim.view.common import STYLE
from niche_sim.view.lattice import draw_scale_bar
from niche_sim.view.palette import FAINT
from niche_sim.view.raster import Picture
from niche_sim.view.scales import Bar

EDGE = 6.0  # inches of a patch
DPI = 200


def draw_sheet(pictures: Mapping[str, Picture], title: str, moment: str, voxel_um: float | None) -> bytes:
    """Return the pictures of arms at one time as one PNG.

    Parameters
    ----------
    pictures : mapping of arm to Picture
    title : str
    moment : str
        Time that is shown.
    voxel_um : float or None
        Edge of a voxel (um), for the scale bar; None for stacks seen from a side.
    """
    first = next(iter(pictures.values()))
    count = len(pictures)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(EDGE * count, EDGE * first.height / first.width + 1.8), layout="constrained")
        grid = figure.add_gridspec(2, count, height_ratios=(1.0, 0.025 if first.bar else 1e-6))
        figure.suptitle(f"{title}, {moment}", fontsize=14, fontweight="bold", x=0.008, ha="left")
        for column, (arm, picture) in enumerate(pictures.items()):
            _draw_arm(figure.add_subplot(grid[0, column]), arm, picture, voxel_um)
        if first.bar is not None:
            _draw_bar(figure.add_subplot(grid[1, 0]), first.bar)
        legend = dict(entry for picture in pictures.values() for entry in picture.legend)
        handles = [Patch(facecolor=colour, edgecolor=FAINT, linewidth=0.4, label=label) for label, colour in legend.items()]
        figure.legend(handles=handles, loc="outside lower left", ncols=3 * count, frameon=False)
        FigureCanvasAgg(figure)
        drawn = BytesIO()
        figure.savefig(drawn, format="png", dpi=DPI, metadata={"Software": None})
    return drawn.getvalue()


def _draw_arm(ax: Axes, arm: str, picture: Picture, voxel_um: float | None) -> None:
    columns, rows = picture.width / picture.scale, picture.height / picture.scale
    image = np.asarray(Image.open(BytesIO(picture.png)).convert("RGB"))
    ax.imshow(image, extent=(-0.5, columns - 0.5, rows - 0.5, -0.5), interpolation="none")
    if voxel_um is not None:
        draw_scale_bar(ax, round(columns), round(rows), voxel_um)
    ax.set_title(arm, fontsize=12, loc="left")
    ax.set_axis_off()


def _draw_bar(ax: Axes, bar: Bar) -> None:
    ax.imshow(np.array([[to_rgb(colour) for colour in bar.colours]]), aspect="auto", extent=(0, 1, 0, 1))
    ax.set_yticks([])
    ax.set_xticks([place for place, _ in bar.ticks], [text for _, text in bar.ticks])
    ax.set_title(f"{bar.label} ({bar.unit})" if bar.unit else bar.label, fontsize=10, loc="left")
