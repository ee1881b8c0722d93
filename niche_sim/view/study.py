"""The figures of a study, drawn into its folder, and its report."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

from niche_sim.study.results import StudyResults
from niche_sim.view.common import STYLE
from niche_sim.view.figures import DEFAULT_FORMATS, write_figure
from niche_sim.view.maps import heat_sheet, surface_sheet
from niche_sim.view.response import response_sheet
from niche_sim.view.sensitivity import Tables, morris_sheet, prcc_sheet, sobol_sheet, tornado_sheet

SHEETS = {
    "sobol": sobol_sheet, "morris": morris_sheet, "prcc": prcc_sheet, "tornado": tornado_sheet, "heat": heat_sheet,
    "response": response_sheet,
}  # fmt: skip


def draw_study(
    results: StudyResults, tables: Tables, folder: Path, *, endpoints: Sequence[str] = (), surface: Sequence[str] = (),
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
    surface : sequence of str
        Two to four factors of which surfaces are drawn too (`read_axes`).
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
            for arm in [arm for arm in results.arms if arm != results.reference] or results.arms if surface else ():
                figure = surface_sheet(results, endpoint, arm, surface)
                written += write_figure(figure, folder, f"surface_{endpoint}_{arm}", formats)
    return written
