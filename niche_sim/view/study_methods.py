"""The methods of a study in sentences, from what its folder states alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from niche_sim.config import build_experiment
from niche_sim.config.schema import MOST_SEED
from niche_sim.store.sources import collect_sources
from niche_sim.study.results import StudyResults, count_runs, tell_counts
from niche_sim.study.spec import Factor
from niche_sim.study.store import open_folder
from niche_sim.study.values import write_text
from niche_sim.view.methods import LIBRARIES, count, join, write_methods

DESIGNS = {
    "table": "rows of a table", "grid": "a full grid", "latin_hypercube": "a Latin hypercube drawn by scipy",
    "sobol_sequence": "a scrambled Sobol sequence drawn by scipy",
    "morris": "{points} Morris trajectories of {levels} levels drawn by SALib",
    "saltelli": "Saltelli's design for Sobol indices over {points} base points drawn by SALib",
}  # fmt: skip
MOST_NAMED = 12  # values of a choice, or places of a factor, that are listed
_SHARED = ("Model", "Tissue and time", "Patient and tumour", "Arms", "Mechanisms", "Parameters")


def describe_folder(directory: Path, results: StudyResults) -> dict[str, Any]:
    """Return the manifest of a study's folder, and `result_hash`: None where runs are missing."""
    held = open_folder(directory)
    missing = bool(count_runs(results.runs)["missing"])
    return held.manifest | {"result_hash": None if missing else held.hash()}


def describe_base(results: StudyResults, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the manifest of a run would state of the experiment of a study, before any factor."""
    study = results.study
    return {
        "title": study.title, "name": study.name, "format": about["format"], "configuration": study.experiment,
        "sources": collect_sources(build_experiment(study.experiment, study.name)), "versions": about["versions"],
        "arms": list(study.arms), "seed": study.experiment["seed"], "host": {"system": "", "machine": ""},
        "configuration_sha256": about["config_hash"],
        "result_hash": about["result_hash"] or "not yet there, as runs are missing",
    }  # fmt: skip


def write_study_methods(
    results: StudyResults, about: Mapping[str, Any], base: Mapping[str, Any] | None = None
) -> list[tuple[str, str]]:
    """Return headings and paragraphs that tell how a study was computed, ready for the Methods of a paper.

    Parameters
    ----------
    results : StudyResults
    about : mapping
        Of `describe_folder`.
    base : mapping, optional
        As `describe_base` returns it, if it is at hand.
    """
    shared = [pair for pair in write_methods(base or describe_base(results, about)) if pair[0] in _SHARED]
    return [
        *shared, ("Factors", _tell_factors(results)), ("Design", _tell_design(results)),
        ("Randomness", _tell_seeds(results)), ("Endpoints", _tell_endpoints(results)), ("Runs", _tell_runs(results)),
        ("Software", _tell_software(about)),
    ]  # fmt: skip


def _tell_factors(results: StudyResults) -> str:
    told, base = [tell_factor(results, factor) for factor in results.study.factors], results.study.experiment
    titled = f" ({base['title']})" if base.get("title") else ""
    return (
        f"The paragraphs above tell the experiment {base['name']}{titled} as it is before any factor. The study "
        f"{results.study.name} varied {count(len(told), 'factor')}: {'; '.join(told)}."
    )


def tell_factor(results: StudyResults, factor: Factor) -> str:
    """Return a factor in words: its name, where it acts, its law and range."""
    places = [place for place in factor.places if place != factor.name]
    more = f" and {len(places) - MOST_NAMED} more" if len(places) > MOST_NAMED else ""
    where = f" ({', '.join(places[:MOST_NAMED])}{more})" if places else ""
    return f"{factor.name}{where}, {_tell_law(results, factor)}"


def _tell_law(results: StudyResults, factor: Factor) -> str:
    kind = results.study.design.kind
    if factor.distribution == "choice":
        some = ", ".join(map(write_text, factor.values[:MOST_NAMED]))
        more = f" and {len(factor.values) - MOST_NAMED} more" if len(factor.values) > MOST_NAMED else ""
        return f"{'each' if kind == 'grid' else 'one'} of {some}{more}"
    ends = f"{factor.low:.6g} to {factor.high:.6g} {factor.unit}".strip()
    if kind == "table":
        return f"{ends} as the table has it"
    steps = f" in multiples of {factor.round}" if factor.round else ""
    if kind == "grid":
        spaced = "on a logarithmic scale" if factor.distribution == "loguniform" else "evenly spaced"
        return f"{count(factor.levels, 'value')} from {ends}, {spaced}{steps}"
    unit = f" {factor.unit}" if factor.unit else ""
    law = {
        "normal": f"normal with mean {factor.centre:.6g}{unit} and standard deviation {factor.spread:.6g}{unit}, cut to",
        "lognormal": f"lognormal with median {factor.centre:.6g}{unit} and CV {factor.spread:.6g}, cut to",
        "triangular": f"triangular with mode {factor.centre:.6g}{unit}, from",
        "integer": "whole numbers from",
    }.get(factor.distribution, f"{factor.distribution} from")  # fmt: skip
    return f"{law} {ends}{steps}"


def _tell_design(results: StudyResults) -> str:
    study, points = results.study, f"{len(results.design):,}"
    layout = DESIGNS[study.design.kind].format(points=f"{study.design.points:,}", levels=study.design.levels)
    drawn = f" (seed {study.design.seed})" if study.design.kind not in ("table", "grid") else ""
    limits = f" that fulfil {join(study.constraints)}" if study.constraints else ""
    return f"The {points} points{limits} are those of {layout}{drawn}."


def find_mover(results: StudyResults, place: str) -> Factor | None:
    """Return the factor that moves a place, such as `seed`, if one does."""
    return next((factor for factor in results.study.factors if place in factor.places), None)


def _tell_seeds(results: StudyResults) -> str:
    study, factor = results.study, find_mover(results, "seed")
    ran = "is to run" if count_runs(results.runs)["missing"] else "ran"
    several, arms = study.replicates > 1, " and in all arms" if len(study.arms) > 1 else ""
    runs = f"Every point {ran} in {count(len(study.arms), 'arm')} ({join(study.arms)}) with "
    runs += count(study.replicates, "replicate")
    if factor is None:
        shared = "which so share their random draws (common random numbers)"
        drawn = f", {_tell_span(int(study.experiment['seed']), study.replicates)}, the same at all points{arms}, {shared}."
    else:
        own = "replicate r, counted from 0, has that of its point + r" if several else "each run has that of its point"
        alone = "which so share their random draws (common random numbers)"
        alone = f", the same in all arms, {alone}" if arms else ""
        drawn = f". The seed is a factor, {factor.name}, {_tell_law(results, factor)}: {own}{alone}. "
        drawn += "Points share draws only where runs have the same seed."
    return (
        f"{runs}{drawn}{_tell_bone(results)} A draw is a value of the counter-based generator Philox4x32-10 "
        "(Salmon et al. 2011) at the address of seed, tick, use and identity of the cell or voxel, so that results do not "
        "depend on who computed them, nor in which order."
    )


def _tell_span(first: int, number: int) -> str:
    """Return consecutive seeds in words; after the largest comes 0."""
    last = (first + number - 1) % (MOST_SEED + 1)
    if number == 1:
        return f"the seed {first}"
    return f"the seeds {first} to {last}" if last > first else f"the seeds {first} to {MOST_SEED} and 0 to {last}"


def _tell_bone(results: StudyResults) -> str:
    """Say with which seed bone was made: that of the run, unless the scene has one of its own (`runs.take_run`)."""
    study, whole, factor = results.study, find_mover(results, "scene"), find_mover(results, "scene.seed")
    scene, seed = study.experiment["scene"], study.experiment["seed"]
    if scene["kind"] == "image" and not whole:
        return ""
    moved, again = find_mover(results, "seed"), ""
    various = study.replicates > 1 or moved
    if study.replicates > 1:
        again = "; where that is also the seed of the point, with the seed of each replicate"
    if factor and factor is moved:
        factor = None  # one factor for both: the scene has the seed of the run
    if factor:
        law = _tell_law(results, factor)
        return f" Bone was made with a seed of its own, the factor {factor.name}, {law}, the same in all replicates{again}."
    if whole or scene.get("seed") in (None, seed):
        return " Bone was made anew with each seed." if various else ""
    return f" Bone was made with the seed {scene['seed']} in all runs{again if moved else ''}." if various else ""


def _tell_endpoints(results: StudyResults) -> str:
    told = [results.describe(endpoint) for endpoint in results.endpoints]
    return f"Read off each run {'was' if len(told) == 1 else 'were'} {join(told)}."


def _tell_runs(results: StudyResults) -> str:
    counts, rows = count_runs(results.runs), len(results.runs)
    same = rows - counts["planned"]
    shared = f" Of {rows:,} combinations of point, replicate and arm {same:,} are equal to others and run once."
    tried = " A run counts as failed after three tries." if counts["failed"] else ""
    return f"In all, {tell_counts(counts)}.{shared if same else ''}{tried}"


def _tell_software(about: Mapping[str, Any]) -> str:
    versions = about["versions"]
    used = [f"{name} {versions[name]}" for name in LIBRARIES if name in versions]
    result = about["result_hash"]
    results = f"its results {result}" if result else "its results have none yet, as runs are missing"
    return (
        f"Runs were computed with niche_sim {versions['niche-sim']} (sources {about['sources']}) on Python "
        f"{versions['python']}, {join(used)}. The study has the SHA-256 {about['config_hash']}, its points "
        f"{about['design_hash']}, {results}."
    )
