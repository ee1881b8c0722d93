"""The report of a run or a cohort: one self-contained HTML page; and the summary that a run prints."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader

from niche_sim.store import Result, load, replace_file
from niche_sim.store.cohorts import load_cohort
from niche_sim.view.charts import chart_cohort, chart_result, count_fates, list_arms
from niche_sim.view.common import list_regimens, name_span, name_time
from niche_sim.view.methods import write_methods
from niche_sim.view.provenance import list_numbers, list_references

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
COHORT_CAPTION = (
    "Markers: median of patients, band the middle half of them. Tumours: mean of patients, band its 95 % interval."
)
CHARTED = ("series", "fate")  # charts of the page instead of pictures
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


def _tabulate_run(result: Result) -> list[dict[str, Any]]:
    """Return the table of what happened: a row a quantity, a column an arm."""
    arms = tabulate_arms(result) if len(result.series) else []
    if not arms:
        return []
    rows: list[list[str]] = []
    for number, (label, _, _) in enumerate(ROWS):
        rows.append([label, *(f"{arm['rows'][number][1]} → {arm['rows'][number][2]}" for arm in arms)])
    control = arms[0]["resorption"]
    shares = [f" ({100 * arm['resorption'] / control:.0f} % of {arms[0]['arm']})" if control > 0 else "" for arm in arms]
    shares[0] = ""
    rows.append(["mean resorption (µm³/d)", *(f"{arm['resorption']:.0f}{share}" for arm, share in zip(arms, shares))])
    rows += [[f"DTCs that {key}", *(str(arm["fate"][key]) for arm in arms)] for key in arms[0]["fate"]]
    return [{"title": "", "head": ["from start to end", *(arm["arm"] for arm in arms)], "rows": rows, "note": ""}]


def _spell(row: pd.Series, middle: str) -> str:
    """Return a number with its interval and, where there is one, its ratio to the reference arm."""
    text = f"{row[middle]:.3g} [{row['low']:.3g}, {row['high']:.3g}]"
    return text + (f", × {row['ratio']:.2f}" if np.isfinite(row["ratio"]) and row["ratio"] != 1.0 else "")


def _tabulate(table: pd.DataFrame, arms: list[str], name: str, middle: str, title: str, note: str) -> dict[str, Any]:
    last = table[table["time_h"] == table["time_h"].max()].dropna(subset=[middle])
    rows = []
    for (quantity, unit), held in last.groupby([name, "unit"], sort=False):
        cells = held.set_index("arm")
        label = f"{quantity} ({unit})".replace("_", " ")
        rows.append([label, *(_spell(cells.loc[arm], middle) if arm in cells.index else "–" for arm in arms)])
    heading = f"{title} at {name_time(float(table['time_h'].max()))}"
    return {"title": heading, "head": ["", *arms], "rows": rows, "note": note}


def _tabulate_cohort(cohort: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tables of markers and tumours at the last visit."""
    about, summary = cohort["manifest"], cohort["summary"]
    ratio = f"× is the ratio to {about['reference']}."
    markers = summary[summary["value"].isin(["measured", "relative"])]
    markers = markers.assign(named=markers["marker"] + " " + markers["value"])
    note = f"Median of patients, in brackets the middle 95 % of them; relative is over her own baseline. {ratio}"
    tables = [_tabulate(markers, about["arms"], "named", "median", "Markers", note)]
    if "tumours" in cohort:
        note = f"Mean of patients, in brackets its 95 % bootstrap interval over patients. {ratio}"
        tables.append(_tabulate(cohort["tumour_summary"], about["arms"], "quantity", "mean", "Tumours", note))
    return tables


def _read_figures(folder: Path) -> list[dict[str, str]]:
    figures = []
    for name, caption in CAPTIONS.items():
        path = folder / "figures" / f"{name}.png"
        if name not in CHARTED and path.exists():
            data = base64.b64encode(path.read_bytes()).decode()
            figures.append({"name": name, "title": TITLES[name], "caption": caption, "data": data})
    return figures


def render_page(manifest: Mapping[str, Any], methods: list[tuple[str, str]], papers: Sequence[str], **parts: Any) -> bytes:
    """Return the page of a report. Only scripts whose hashes it states run; nothing is fetched, whatever a name holds."""
    assets = files("niche_sim.view").joinpath("assets")
    names = ("uPlot.iife.min.js", "report.js", "uPlot.min.css")
    library, own, style = (assets.joinpath(name).read_text("utf-8") for name in names)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in (library, own)]
    sources = manifest["sources"]
    contents = [("summary", "What happened")]
    contents += [("course", "Course in time")] if parts["charts"] else []
    contents += [(figure["name"], figure["title"]) for figure in parts["figures"]]
    contents += [("methods", "Methods"), ("provenance", "What it rests on"), ("references", "References")]
    environment = Environment(loader=PackageLoader("niche_sim", "view"), autoescape=True)
    page = environment.get_template("report.html.j2").render(
        manifest=manifest, library_js=library, own_js=own, library_css=style, captions=CAPTIONS, contents=contents,
        hashes=" ".join(f"'sha256-{digest}'" for digest in digests), methods=methods, numbers=list_numbers(sources),
        references=list_references(papers), **parts,
    )  # fmt: skip
    return page.encode()


def write_report(result_dir: Path) -> Path:
    """Write `report.html` into a run: everything inline, nothing fetched.

    The same result, with the same figures in its folder, gives the same bytes.

    Parameters
    ----------
    result_dir : Path

    Returns
    -------
    Path

    Raises
    ------
    InputError
        The folder holds no run, or a table is not as it was written.
    ResourceError
        The disk is full; an older report stays as it was.
    """
    folder = Path(result_dir)
    result = load(folder)
    mapping = result.experiment_mapping
    length = name_span(mapping["time"]["length"])
    page = render_page(
        result.manifest, write_methods(result.manifest), result.manifest["sources"]["papers"],
        lead=f"One simulated patch of trabecular bone marrow over {length}, seed {mapping['seed']}:",
        arms=list_arms(result.arms, list_regimens(result)), charts=chart_result(result), course=CAPTIONS["series"],
        fates=count_fates(result), tables=_tabulate_run(result), figures=_read_figures(folder),
        divergence=f"Arms start from one state and share every random draw. {find_divergence(result)}",
        again="`niche-sim rerun THIS_FOLDER --out again` runs it again and compares the hashes.",
    )  # fmt: skip
    return _keep(folder, page)


def write_cohort_report(directory: Path) -> Path:
    """Write `report.html` into the folder of a cohort; as `write_report`."""
    cohort = load_cohort(Path(directory))
    about = cohort["manifest"]
    charts = chart_cohort(cohort)
    niches = f"{about['niches']} niche{'s' if about['niches'] > 1 else ''} each"
    lead = f"A cohort of {about['patients']} patients, {niches}, over "
    lead += f"{name_span(about['configuration']['time']['length'])}, seed {about['seed']}:"
    options = f"--patients {about['patients']} --niches {about['niches']} --tumours {about['tumours']}"
    command = f"niche-sim cohort THIS_FOLDER/resolved.yaml {options} --reference {about['reference']}"
    page = render_page(
        about, write_methods(about), about["sources"]["papers"], lead=lead,
        arms=charts["arms"], charts=charts, course=COHORT_CAPTION, fates=[], figures=[],
        divergence="A patient is the same in every arm.", tables=_tabulate_cohort(cohort),
        again=f"`{command}` runs it again; `niche-sim hash` tells whether the result is the same.",
    )  # fmt: skip
    return _keep(Path(directory), page)


def _keep(folder: Path, page: bytes) -> Path:
    path = folder / "report.html"
    replace_file(path, page)
    return path
