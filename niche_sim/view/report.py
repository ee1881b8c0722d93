"""The report of a result: one self-contained HTML page, and the summary that a run prints."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader

from niche_sim.store import Result, load, replace_file
from niche_sim.view.common import list_regimens, name_span, name_time

TITLES = {
    "lattice": "The patch", "series": "Course in time", "fate": "Fate of the tumour cells",
    "lineage": "Lineage of the largest clone", "fields": "Suitability and growth factors",
    "suitability": "What lowers suitability", "drug": "Where the drug is",
}  # fmt: skip
CAPTIONS = {
    "lattice": "The patch at chosen times, a row an arm. Arms start from one state and share every random draw, so what "
    "differs is what the drug did. One patch and one seed show a mechanism, not the size of an effect.",
    "series": "Course by arm. Counts of one patch scatter widely: resorption averaged over 90 days still varies by a third "
    "between patches. Compare the arms, do not read a trend from one.",
    "fate": "What happened to tumour cells until the end, by cause. The cells are competent lesions crowded into one patch; "
    "a patient has a handful, so these counts are no counts per patient.",
    "lineage": "The clone with most cells at the end of each arm: a line a cell, from its birth to its death or the end, "
    "daughters below their mother. `niche-sim follow` tells in words where and why each cell woke, and what became of it.",
    "fields": "Growth factors and free drug at the last recorded time. Absolute levels are on the model's own scale.",
    "suitability": "Suitability in the first and the last picture (middle plane), the term that takes most away at each "
    "place, and how much each term takes away at bone and beside vessels; a place that touches both counts in both bars.",
    "drug": "Drug on the surface of bone and buried under bone laid since; middle plane, each arm with a scale of its own.",
}
ROWS = (
    ("dormant DTCs", "dormant", "{:.0f}"), ("cycling DTCs", "cycling", "{:.0f}"),
    ("  of clones from blood", "cycling_arrived", "{:.0f}"),
    ("osteoclasts", "osteoclasts", "{:.0f}"), ("osteoblasts", "osteoblasts", "{:.0f}"),
    ("macrophages", "macrophages", "{:.0f}"), ("bone volume fraction", "bone_volume_fraction", "{:.4f}"),
    ("suitability, endosteal", "suitability_endosteal", "{:.3f}"),
    ("suitability, vessels", "suitability_perivascular", "{:.3f}"), ("drug on bone (fmol)", "drug_surface_fmol", "{:.3g}"),
    ("drug buried (fmol)", "drug_buried_fmol", "{:.3g}"),
)  # fmt: skip


def _total(row: pd.Series, prefix: str) -> int:
    return int(sum(row[name] for name in row.index if str(name).startswith(prefix)))


def tabulate_arms(result: Result) -> list[dict[str, Any]]:
    """Return one mapping an arm: start and end of each row, mean resorption, and the fate of tumour cells."""
    table = []
    for arm, frame in result.series.groupby("arm", sort=False):
        first, last = frame.iloc[0], frame.iloc[-1]
        pairs = [(label, form, [row.get(name, np.nan) for row in (first, last)]) for label, name, form in ROWS]
        table.append({
            "arm": str(arm),
            "rows": [(label, *map(form.format, values)) for label, form, values in pairs],
            "resorption": float(frame["resorption_um3_per_d"].iloc[1:].mean()) if len(frame) > 1 else 0.0,
            "fate": {
                "woke": _total(last, "dtc_wakes_"), "fell asleep": int(last["dtc_sleeps"]),
                "divided": int(last["dtc_births"]), "died": _total(last, "dtc_deaths_"),
                "arrived": int(last["dtc_arrivals"]), "left": int(last["dtc_egress"]),
            },
        })  # fmt: skip
    return table


def summary_lines(result: Result) -> list[str]:
    """Return what happened, as an aligned table of text with a column an arm."""
    table = tabulate_arms(result)
    if not table:
        return ["no series was recorded; the events and cells are in the results folder"]
    width = max(21, *(len(arm["arm"]) + 2 for arm in table))
    lines = [" " * 24 + "".join(f"{arm['arm']:>{width}}" for arm in table)]
    for number, (label, _, _) in enumerate(ROWS):
        pairs = [f"{arm['rows'][number][1]} -> {arm['rows'][number][2]}" for arm in table]
        lines.append(f"{label:<24}" + "".join(f"{pair:>{width}}" for pair in pairs))
    lines.append(f"{'resorption (um3/d)':<24}" + "".join(f"{arm['resorption']:>{width}.0f}" for arm in table))
    for key in table[0]["fate"]:
        lines.append(f"{'DTCs ' + key:<24}" + "".join(f"{arm['fate'][key]:>{width}}" for arm in table))
    return lines


def find_divergence(result: Result) -> str:
    """Return in words when the first event of one arm is missing in another; doses do not count."""
    events = result.events
    if not len(events) or len(result.arms) < 2:
        return ""
    events = events[~events["event"].isin(["dose", "dose_missed"])]
    keys = ["step", "event", "cause", "ident"]
    sets: list[set[Any]] = [set(map(tuple, events.loc[events["arm"] == arm, keys].to_numpy())) for arm in result.arms]
    different = set.union(*sets) - set.intersection(*sets)
    if not different:
        return "Every event is the same in all arms."
    step = min(entry[0] for entry in different)
    hours = float(events.loc[events["step"] == step, "time_h"].iloc[0])
    if step <= 1:
        return "The arms differ from their first tick on."
    return f"Event by event the arms are identical until {name_time(hours)}; from then on they differ."


def _describe(result: Result) -> dict[str, Any]:
    mapping = result.experiment_mapping
    return {
        "arms": list_regimens(result),
        "off": sorted(name for name, on in mapping.get("switches", {}).items() if on is False),
        "length": name_span(mapping["time"]["length"]), "seed": mapping["seed"], "scene": mapping["scene"],
    }  # fmt: skip


def _read_figures(folder: Path) -> list[dict[str, str]]:
    figures = []
    for name, caption in CAPTIONS.items():
        path = folder / "figures" / f"{name}.png"
        if path.exists():
            figures.append({"title": TITLES[name], "caption": caption, "data": base64.b64encode(path.read_bytes()).decode()})
    return figures


def write_report(result_dir: Path) -> Path:
    """Write `report.html` into a result: everything inline, nothing fetched.

    Parameters
    ----------
    result_dir : Path

    Returns
    -------
    Path
    """
    folder = Path(result_dir)
    result = load(folder)
    environment = Environment(loader=PackageLoader("niche_sim", "view"), autoescape=True)
    table = tabulate_arms(result) if len(result.series) else []
    control = table[0]["resorption"] if table else 0.0
    page = environment.get_template("report.html.j2").render(
        manifest=result.manifest, about=_describe(result), table=table, control=control,
        labels=[row[0] for row in ROWS], figures=_read_figures(folder), divergence=find_divergence(result),
        finite=np.isfinite,
    )  # fmt: skip
    path = folder / "report.html"
    replace_file(path, page.encode())
    return path
