"""Every figure of a result, drawn into its folder.

Every sheet takes a result and returns a figure, or None where the result did not record what it shows.
"""

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from niche_sim.errors import InputError
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

VECTOR = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}  # without the day, so that equal figures have equal bytes
FORMATS = ("png", *VECTOR)
DEFAULT_FORMATS, DEFAULT_DPI = ("png", "svg"), 150


def read_formats(text: str) -> tuple[str, ...]:
    """Return the formats of figures that a list such as "png,svg" names.

    Raises
    ------
    InputError
        There is no such format.
    """
    names = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",")))
    for name in names:
        if name not in FORMATS:
            raise InputError(f"--format: no format {name!r}; there is {', '.join(FORMATS)}")
    return names


def draw_figures(
    result_dir: Path, *, formats: Sequence[str] = DEFAULT_FORMATS, dpi: int = DEFAULT_DPI, only: Sequence[str] = (),
    out: Path | None = None,
) -> list[Path]:  # fmt: skip
    """Draw every figure that the result has data for into a folder.

    The same result gives the same files, byte for byte, with the same versions of the libraries.

    Parameters
    ----------
    result_dir : Path
    formats : sequence of str
        Of FORMATS.
    dpi : int
        Pixels an inch, of PNG and of pictures inside SVG and PDF.
    only : sequence of str
        Names of SHEETS; all if empty.
    out : Path, optional
        The folder; `figures` of the result if not given.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputError
        A sheet has an unknown name, or the result did not record what it shows.
    ResourceError
        The disk is full; figures drawn before stay as they were.
    """
    return draw_sheets(SHEETS, load(result_dir), out or Path(result_dir) / "figures", formats=formats, dpi=dpi, only=only)


def draw_sheets(
    sheets: Mapping[str, Callable[[Any], Figure | None]], held: Any, folder: Path, *,
    formats: Sequence[str] = DEFAULT_FORMATS, dpi: int = DEFAULT_DPI, only: Sequence[str] = (),
) -> list[Path]:  # fmt: skip
    """Draw those of `sheets` that `held`, a result or a cohort, has data for, or those named in `only`; return the files.

    Raises
    ------
    InputError
        A sheet has an unknown name, or nothing was recorded for it.
    ResourceError
        The disk is full.
    """
    for name in only:
        if name not in sheets:
            raise InputError(f"no figure {name!r}; there is {', '.join(sheets)}")
    written: list[Path] = []
    with matplotlib.rc_context(STYLE):
        for name in only or sheets:
            figure = sheets[name](held)
            if figure is not None:
                written += write_figure(figure, folder, name, formats, dpi)
            elif only:
                raise InputError(f"nothing was recorded that the figure {name!r} shows; docs/figures.md tells what it needs")
    return written


def write_figure(
    figure: Figure, folder: Path, name: str, formats: Sequence[str] = DEFAULT_FORMATS, dpi: int = DEFAULT_DPI
) -> list[Path]:
    """Write a figure in each format, each in place of an older one; return the files.

    Raises
    ------
    ResourceError
        The disk is full; what was there stays.
    """
    FigureCanvasAgg(figure)
    for kind in formats:
        drawn = BytesIO()
        figure.savefig(drawn, format=kind, dpi=dpi, metadata=VECTOR.get(kind))
        replace_file(folder / f"{name}.{kind}", drawn.getvalue())
    return [folder / f"{name}.{kind}" for kind in formats]
