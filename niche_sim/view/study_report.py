"""The report of a study: one self-contained page with its tables, figures, methods, numbers and references."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from niche_sim.config import build_experiment
from niche_sim.store import replace_file
from niche_sim.store.sources import collect_sources
from niche_sim.study.results import COUNTS, StudyResults, count_runs, tell_counts
from niche_sim.view.charts import list_arms
from niche_sim.view.common import describe_regimen, name_span
from niche_sim.view.methods import write_methods
from niche_sim.view.report import render_page
from niche_sim.view.sensitivity import Tables, choose_index, rank_factors

MOST_FACTORS, MOST_ERRORS = 10, 10
DESIGNS = {
    "table": "a table of {points} points", "grid": "a full grid of {points} points",
    "latin_hypercube": "a Latin hypercube of {points} points", "sobol_sequence": "a Sobol sequence of {points} points",
    "morris": "Morris trajectories, {points} points in all", "saltelli": "a Saltelli design of {points} points",
}  # fmt: skip
TITLES = {
    "sobol": "Sobol indices", "morris": "Morris screening", "prcc": "Partial rank correlation", "tornado": "Tornado",
    "heat": "Map over two factors", "response": "Responses along factors",
}  # fmt: skip
CAPTIONS = {
    "sobol": "Share of the variance between points that a factor makes alone (first order) and with all others (total).",
    "morris": "How much the response changes when one factor moves over its range: a screening of which factors matter.",
    "prcc": "Rank correlation of the response with a factor, all others held; it sees what rises or falls throughout.",
    "tornado": "Mean response where a factor is low and where it is high.",
    "heat": "Mean response over the two factors that matter most, or over the first two of a grid.",
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
CHANCE = (
    "The variance between runs is split by a crossed random-effects analysis of variance into what parameters do, chance "
    "that all points share by their common seed, and chance of each run. Arms are compared run by run with the same seed. "
    "Intervals have 95 %."
)


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


def describe_design(results: StudyResults) -> str:
    """Return the design of a study in sentences."""
    study = results.study
    layout = DESIGNS[study.design.kind].format(points=f"{len(results.design):,}")
    drawn = f" (seed {study.design.seed})" if study.design.kind not in ("table", "grid") else ""
    parts = []
    for factor in study.factors:
        values = pd.to_numeric(results.design[f"{factor.name}.value"], errors="coerce")
        words = f"{values.min():.4g} to {values.max():.4g} {factor.unit}".strip()
        if factor.distribution == "choice":
            words = ", ".join(map(str, factor.values))
        parts.append(f"{factor.name} ({words}; {factor.distribution})")
    replicates = f"{study.replicates} replicate{'s' if study.replicates > 1 else ''}"
    told = f"The points are {layout}{drawn} over {len(parts)} factors: {'; '.join(parts)}. Above they "
    told += "are told as the experiment has them before any factor. Every point ran in "
    told += f"{len(study.arms)} arm{'s' if len(study.arms) > 1 else ''} with {replicates}, the seeds of which are the same "
    told += "at every point, so that points and arms share their random draws (common random numbers)."
    limits = f" Kept were points that fulfil {'; '.join(study.constraints)}." if study.constraints else ""
    return told + limits + f" In all, {tell_counts(count_runs(results.runs))}."


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
        versions; config_hash and result_hash as text.
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
    experiment = build_experiment(study.experiment, study.name)
    sources = collect_sources(experiment)
    manifest = {
        "title": study.title, "name": study.name, "sources": sources, "versions": about["versions"],
        "format": "niche_sim study", "configuration": study.experiment, "arms": list(study.arms),
        "seed": study.experiment["seed"], "host": {"system": "", "machine": ""},
        "configuration_sha256": about["config_hash"], "result_hash": about["result_hash"],
    }  # fmt: skip
    used = [ANALYSES[name] for name in ANALYSES if name in tables]
    # A study records its endpoints alone, and may have run on many machines.
    methods = [pair for pair in write_methods(manifest) if pair[0] not in ("Recording", "Software")]
    methods += [("Design", describe_design(results)), ("Analysis", " ".join([*(text for text, _ in used), CHANCE]))]
    papers = [*sources["papers"], *sorted({paper for _, keys in used for paper in keys} - set(sources["papers"]))]
    regimens = {arm: describe_regimen((study.experiment["arms"].get(arm) or {}).get("regimen")) for arm in study.arms}
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
