"""Every figure of a result, drawn into its folder.

Every sheet takes a result and returns a figure, or None where the result did not record what it shows.
"""

from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from niche_sim.store import load, replace_file
from niche_sim.view.common import STYLE
from niche_sim.view.drug import drug_sheet
from niche_sim.view.fate import fate_figure
from niche_sim.view.fields import field_sheet
from niche_sim.view.lattice import lattice_sheet
from niche_sim.view.lineage import lineage_figure
from niche_sim.view.series import time_series_sheet
from niche_sim.view.suitability import suitability_sheet

SHEETS = {
    "lattice": lattice_sheet, "series": time_series_sheet, "fate": fate_figure, "lineage": lineage_figure,
    "fields": field_sheet, "suitability": suitability_sheet, "drug": drug_sheet,
}  # fmt: skip


def draw_figures(result_dir: Path) -> list[Path]:
    """Draw every figure that the result has data for into its folder `figures`, as PNG and SVG.

    The same result gives the same files, byte for byte, with the same versions of the libraries.

    Parameters
    ----------
    result_dir : Path

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    ResourceError
        The disk is full; figures drawn before stay as they were.
    """
    result = load(result_dir)
    folder = Path(result_dir) / "figures"
    written: list[Path] = []
    with matplotlib.rc_context(STYLE):
        for name, draw in SHEETS.items():
            figure = draw(result)
            if figure is None:
                continue
            written += write_figure(figure, folder, name)
    return written


def write_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and SVG, each in place of an older one; return the files.

    Raises
    ------
    ResourceError
        The disk is full; what was there stays.
    """
    kinds: tuple[tuple[str, dict[str, Any]], ...] = (("png", {"dpi": 150}), ("svg", {"metadata": {"Date": None}}))
    FigureCanvasAgg(figure)
    for kind, options in kinds:
        drawn = BytesIO()
        figure.savefig(drawn, format=kind, **options)
        replace_file(folder / f"{name}.{kind}", drawn.getvalue())
    return [folder / f"{name}.{kind}" for kind, _ in kinds]
