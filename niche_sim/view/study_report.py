"""The report of a study: one self-contained page with its tables, figures, methods, numbers and references."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from niche_sim.store import replace_file
from niche_sim.study.results import COUNTS, StudyResults, count_runs, tell_counts
from niche_sim.view.charts import list_arms
from niche_sim.view.common import describe_regimen, name_span
from niche_sim.view.report import render_page
from niche_sim.view.sensitivity import Tables, choose_index, rank_factors
from niche_sim.view.study_methods import describe_base, find_mover, write_study_methods

MOST_FACTORS, MOST_ERRORS = 10, 10
TITLES = {
    "sobol": "Sobol indices", "morris": "Morris screening", "prcc": "Partial rank correlation", "tornado": "Tornado",
    "heat": "Map over two factors", "surface": "Surface", "response": "Responses along factors",
}  # fmt: skip
CAPTIONS = {
    "sobol": "Share of the variance between points that a factor makes alone (first order) and with all others (total).",
    "morris": "How much the response changes when one factor moves over its range: a screening of which factors matter.",
    "prcc": "Rank correlation of the response with a factor, all others held; it sees what rises or falls throughout.",
    "tornado": "Mean response where a factor is low and where it is high.",
    "heat": "Mean response over the two factors that matter most, or over the first two of a grid.",
    "surface": "Mean response over the factors of the panels; of an arm beside the reference, its ratio to that.",
    "response": "Mean response along a factor while all others vary.",
}
ANALYSES = {  # table, sentence, papers
    "morris": ("Elementary effects are summarised by mu* and sigma [morris1991, campolongo2007]; their intervals are of "
               "bootstrap samples of trajectories.", ("morris1991", "campolongo2007")),
    "sobol": ("First-order and total Sobol indices are estimated as by Saltelli et al. [saltelli2010] and Jansen "
              "[jansen1999]; intervals are of bootstrap samples of blocks.", ("saltelli2010", "jansen1999")),
    "sobol_pairs": ("Indices of pairs are estimated as by Saltelli [saltelli2002].", ("saltelli2002",)),
    "prcc": ("Partial rank correlations [marino2008] have intervals by Fisher's transform with the variance of rank "
             "correlations [fieller1957].", ("marino2008", "fieller1957")),
    "tornado": ("A tornado compares the means over the lowest and the highest fifth of the points of a factor, or at the "
                "ends of one with few values.", ()),
}  # fmt: skip
CHANCE = {  # by whether the seed is a factor
    False: "The variance between runs is split by a crossed random-effects analysis of variance into what parameters do, "
           "chance that all points share by their common seed, and chance of each run. Intervals of means over points "
           "hold what these seeds do to all of them.",
    True: "The seed is a factor, so that points share no chance; the variance between runs is not split.",
}  # fmt: skip


def _tell_chance(results: StudyResults) -> str:
    arms = " Arms are compared run by run with the same seed." if len(results.study.arms) > 1 else ""
    split = f"{CHANCE[find_mover(results, 'seed') is not None]}" if results.study.replicates > 1 else ""
    return f"{split}{arms} Intervals have 95 %.".strip()


def _number(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.3g}"


def _interval(row: Mapping[str, Any], name: str, low: str, high: str) -> str:
    held = _number(row[name])
    return held if pd.isna(row[low]) else f"{held} [{_number(row[low])}, {_number(row[high])}]"


def _tabulate_responses(table: pd.DataFrame) -> dict[str, Any]:
    rows = []
    for row in table.to_dict("records"):
        share = "–" if pd.isna(row["parameter_share"]) else f"{100 * row['parameter_share']:.0f} %"
        share += "" if pd.isna(row["share_low"]) else f" [{100 * row['share_low']:.0f}, {100 * row['share_high']:.0f}]"
        found = (_interval(row, "mean", "low", "high"), _number(row["sd"]), share, *(f"{row[name]:,}" for name in COUNTS))
        rows.append([f"{row['endpoint']} ({row['unit']}), {row['response']}", *found])
    note = "Mean over points with its 95 % interval; standard deviation between points; share of the variance between runs "
    note += "that parameters make, the rest being chance; runs."
    head = ["", "mean", "sd", "parameters' share", *COUNTS]
    return {"title": "Responses", "head": head, "rows": rows, "note": note}


def _tabulate_factors(tables: Tables, endpoint: str) -> dict[str, Any]:
    name, column = choose_index(tables, endpoint)
    table = tables[name][tables[name]["endpoint"] == endpoint]
    low, high = ("low", "high") if name == "prcc" else (f"{column}_low", f"{column}_high")
    responses = list(dict.fromkeys(table["response"]))
    held = {(row["factor"], row["response"]): _interval(row, column, low, high) for row in table.to_dict("records")}
    rows = [[factor, *(held[factor, response] for response in responses)]
            for factor in rank_factors(tables, endpoint)[:MOST_FACTORS]]  # fmt: skip
    words = {"sobol": "total Sobol index", "morris": f"mu* ({table['unit'].iloc[0]})", "prcc": "partial rank correlation",
             "tornado": f"high less low ({table['unit'].iloc[0]})"}[name]  # fmt: skip
    counts = {name: int(table[name].max()) for name in COUNTS}
    note = f"{words[0].upper()}{words[1:]} with its 95 % interval; at most {MOST_FACTORS} factors, the largest first. "
    return {"title": f"What {endpoint} depends on", "head": ["factor", *responses], "rows": rows,
            "note": f"{note}At most {tell_counts(counts)} for a response."}  # fmt: skip


def _tabulate_failures(failures: pd.DataFrame) -> list[dict[str, Any]]:
    if not len(failures):
        return []
    counts = failures.drop_duplicates("key")["error"].value_counts().head(MOST_ERRORS)
    rows = [[(str(error).splitlines() or ["no message"])[0][:200], f"{number:,}"] for error, number in counts.items()]
    return [{"title": "Runs that failed", "head": ["error", "runs"], "rows": rows,
             "note": "After three tries each; failures.csv lists every one with its factors."}]  # fmt: skip


def _read_figures(results: StudyResults, folder: Path, names: Sequence[str]) -> list[dict[str, str]]:
    figures = []
    for name in names:
        kind, _, endpoint = name.partition("_")
        data = base64.b64encode((folder / f"{name}.png").read_bytes()).decode()
        figures.append({"name": name, "title": f"{TITLES[kind]}: {endpoint}", "caption": CAPTIONS[kind], "data": data})
    return figures


def write_study_report(
    results: StudyResults, tables: Tables, notes: Sequence[str], about: Mapping[str, Any], folder: Path,
    figures: Sequence[str] = (),
) -> Path:  # fmt: skip
    """Write `report.html` of a study into a folder: everything inline, nothing fetched.

    Parameters
    ----------
    results : StudyResults
    tables, notes
        Of `summarise`.
    about : mapping
        Of `describe_folder`.
    folder : Path
        Where the report goes.
    figures : sequence of str
        Names of the figures in `folder`/figures, as PNG, that it shows.

    Raises
    ------
    ResourceError
        The disk is full; an older report stays as it was.
    """
    study = results.study
    manifest = describe_base(results, about)
    used = [ANALYSES[name] for name in ANALYSES if name in tables]
    analysis = ("Analysis", " ".join([*(text for text, _ in used), _tell_chance(results)]))
    methods = [*write_study_methods(results, about, manifest), analysis]
    known = manifest["sources"]["papers"]
    papers = [*known, *sorted({paper for _, keys in used for paper in keys} - set(known))]
    moved = {place.split(".")[1] for factor in study.factors for place in factor.places if place.startswith("arms.")}
    regimens = {
        arm: describe_regimen((study.experiment["arms"].get(arm) or {}).get("regimen"))
        + (", before factors" if arm in moved else "")
        for arm in study.arms
    }
    rows = [[row["arm"], *(f"{row[name]:,}" for name in COUNTS)] for row in tables["runs"].to_dict("records")]
    listed = [{"title": "Runs", "head": ["arm", *COUNTS], "rows": rows, "note": " ".join(notes)}]
    listed += [*_tabulate_failures(tables["failures"]), _tabulate_responses(tables["responses"])]
    listed += [_tabulate_factors(tables, endpoint) for endpoint in results.endpoints]
    length = name_span(study.experiment["time"]["length"])
    lead = f"{study.note} A study of {len(results.design):,} points, {len(results.factors)} factors, runs of {length}:"
    page = render_page(
        manifest, methods, papers, arms=list_arms(list(study.arms), regimens), charts={}, course="", fates=[], tables=listed,
        study=True, lead=lead.strip(), divergence=f"{tell_counts(count_runs(results.runs))}.",
        figures=_read_figures(results, folder / "figures", figures),
        again="`niche-sim study DIR/study.yaml --out again` runs it again; `niche-sim hash` compares.",
    )  # fmt: skip
    replace_file(folder / "report.html", page)
    return folder / "report.html"
