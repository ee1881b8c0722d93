"""The figures of a study, drawn into its folder, and its report."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

from niche_sim.study.results import StudyResults
from niche_sim.view.common import STYLE
from niche_sim.view.figures import DEFAULT_FORMATS, write_figure
from niche_sim.view.response import heat_sheet, response_sheet
from niche_sim.view.sensitivity import Tables, morris_sheet, prcc_sheet, sobol_sheet, tornado_sheet

SHEETS = {
    "sobol": sobol_sheet, "morris": morris_sheet, "prcc": prcc_sheet, "tornado": tornado_sheet, "heat": heat_sheet,
    "response": response_sheet,
}  # fmt: skip


def draw_study(
    results: StudyResults, tables: Tables, folder: Path, *, endpoints: Sequence[str] = (),
    formats: Sequence[str] = DEFAULT_FORMATS,
) -> list[Path]:  # fmt: skip
    """Draw every figure that the tables of a study have data for; return the files, named by figure and endpoint.

    Parameters
    ----------
    results : StudyResults
    tables : mapping
        Of `summarise`.
    folder : Path
    endpoints : sequence of str
        All if empty.
    formats : sequence of str

    Raises
    ------
    ResourceError
        The disk is full.
    """
    written: list[Path] = []
    with matplotlib.rc_context(STYLE):
        for endpoint in endpoints or results.endpoints:
            if not (tables["responses"].query("endpoint == @endpoint")["sd"] > 0).any():
                continue  # it is the same at all points, or has no value at any
            for name, sheet in SHEETS.items():
                if name in ("heat", "response") or (name in tables and (tables[name]["endpoint"] == endpoint).any()):
                    figure = sheet(results, tables, endpoint)
                    written += write_figure(figure, folder, f"{name}_{endpoint}", formats) if figure is not None else []
    return written
