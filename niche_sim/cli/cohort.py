"""`niche-sim cohort`: patients of several niches each, their markers and tumours in every arm."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from niche_sim.cli.run import run_aside
from niche_sim.errors import Interrupted, ResourceError
from niche_sim.plan import count_processors

MOST_PATIENTS, MOST_NICHES, MOST_JOBS, MOST_TUMOURS = 100_000, 1000, 1024, 100_000


@click.command(short_help="Run a cohort of patients and write their bone markers and tumours.")
@click.argument("experiment")
@click.option("--patients", type=click.IntRange(1, MOST_PATIENTS), default=20, show_default=True, help="Patients.")
@click.option("--niches", type=click.IntRange(1, MOST_NICHES), default=4, show_default=True, help="Niches of each patient.")
@click.option(
    "--tumours", type=click.IntRange(0, MOST_TUMOURS), metavar="N",
    help="Women with her bone, but tumours of their own, for whom each patient stands; 0 for none.  "
    "[default: 200, or 0 where the experiment places no dormant tumour cells]",
)
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), help="Replace the seed of the experiment.")
@click.option(
    "--jobs", type=click.IntRange(1, MOST_JOBS), help="Niches run side by side.  [default: the processors at hand]"
)
@click.option("--length", help='Replace the simulated time, e.g. "90 d" or "2 yr".')
@click.option("--reference", metavar="ARM", help="Arm that others are compared with.  [default: the first]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to create.  [default: results/NAME_cohort]")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Replace one value; repeatable.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--no-figures", is_flag=True, help="Skip figures and report; `plot` and `report` make them.")
def cohort(
    experiment: str, patients: int, niches: int, tumours: int | None, seed: int | None, jobs: int | None, length: str | None,
    reference: str | None, out: Path | None, settings: tuple[str, ...], quiet: bool, no_figures: bool,
) -> None:  # fmt: skip
    """Run EXPERIMENT for many patients and write what a clinic would find: CTX, NTX, P1NP, calcium, BMD, metastases.

    Where the experiment places dormant tumour cells (population.dormant_dtc), each patient stands for --tumours women of
    the same bone who differ in their tumours: tumour cells in marrow aspirates, lesions in and outside bone, their
    detection, skeletal events.

    A patient is the mean of several independent niches with one host. How patients differ is the `spread:` of the
    experiment; without one they differ by chance alone. A patient is the same in every arm. Only the series is kept,
    whatever `record:` says, at its interval. The results do not depend on --jobs. A cohort that is stopped leaves nothing.

    \b
    Examples:
      niche-sim cohort e02_oral_or_iv --patients 40 --niches 4 --out results/e02
      niche-sim cohort e02_oral_or_iv --set population.dormant_dtc=48 --tumours 500 --out results/e02_tumours
      niche-sim cohort e02_oral_or_iv --patients 4 --niches 1 --length "1 yr" --set record.series="30 d"
    """
    from niche_sim.config import load_experiment
    from niche_sim.progress import ProgressReport

    loaded = load_experiment(experiment, sets=settings, seed=seed, length=length)
    target = out if out is not None else Path("results") / f"{loaded.name}_cohort"
    with ProgressReport(quiet=quiet) as progress:
        lines = _write(loaded, target, patients, niches, tumours, jobs or count_processors(), reference, progress)
        if not no_figures:
            _draw(target, progress)
    if not quiet:
        click.echo("\n".join(lines))


def _write(
    experiment: Any, target: Path, patients: int, niches: int, tumours: int | None, jobs: int, reference: str | None,
    progress: Any,
) -> list[str]:  # fmt: skip
    """Run the cohort into a new folder; return what to tell the user."""
    from niche_sim.store import reserve

    started = datetime.now(UTC)
    with reserve(target) as place:
        # Imported only now: a folder that cannot be used must be refused at once.
        from niche_sim.cohort import check_memory, run_cohort
        from niche_sim.store.cohorts import write_cohort

        check_memory(experiment, jobs)
        work = partial(
            run_cohort, experiment, patients, niches, jobs=jobs, progress=progress, reference=reference, tumours=tumours
        )  # fmt: skip
        try:
            found = run_aside(work, progress.stop)
        except (KeyboardInterrupt, Interrupted):
            raise Interrupted("stopped; nothing unfinished was kept") from None
        progress.say("writing the results")
        ended = datetime.now(UTC)
        write_cohort(place, found, experiment, niches=niches, jobs=jobs, started=started, ended=ended)
    return [*describe(experiment, found, niches, (ended - started).total_seconds()), f"results: {target}"]


def describe(experiment: Any, found: Any, niches: int, seconds: float) -> list[str]:
    """Return what happened in a finished cohort, in lines."""
    from niche_sim.cohort import SHORTEST_BASELINE_H
    from niche_sim.progress import HOURS_PER_YEAR, format_time

    patients = len(found.patients)
    years = patients * niches * (experiment.spin_up_h + len(experiment.arms) * experiment.length_h) / HOURS_PER_YEAR
    speed = f"{years:.4g} patch-years in {seconds:.0f} s, {years / seconds:.2g} a second"
    lines = [f"{patients} patients, {niches} {'niche' if niches == 1 else 'niches'} each: {speed}"]
    table = found.summary
    last = table[(table["time_h"] == table["time_h"].max()) & (table["value"] == "relative")]
    shown = last.pivot(index="arm", columns="marker", values="median").reindex(list(experiment.arms))
    if len(shown.columns):
        lines += ["", f"median of each marker over its own baseline, at {format_time(float(table['time_h'].max()))}"]
        listed = shown[[name for name in ("ctx", "ntx", "p1np", "bmd_spine") if name in shown]]
        lines += listed.round(3).to_string().splitlines()
    lost = [name for name in ("ctx", "ntx", "p1np") if name not in shown]
    if lost:
        named = ", ".join(lost)
        lines += ["", f"no baseline for {named}: no bone was worked on before treatment; take more patches, or larger ones"]
    if found.baseline_h < SHORTEST_BASELINE_H:
        lines += ["", "an arm begins before 30 d: the baseline is the first visit, which treatment already touches"]
    if found.tumours is not None:
        lines += _describe_tumours(found, list(experiment.arms))
    elif not experiment.population.dormant_dtc:
        lines += ["", "no tumours: population.dormant_dtc is 0"]
    assumed = sum(item.status == "assumed" for item in experiment.parameters.values())
    return [*lines, "", f"parameters: {assumed} of {len(experiment.parameters)} are assumed (see `niche-sim sources`)"]


def _describe_tumours(found: Any, arms: list[str]) -> list[str]:
    """Return what is said of the tumours at the end, in lines."""
    from niche_sim.progress import format_time

    table = found.tumours.summary
    last = table[table["time_h"] == table["time_h"].max()]
    named = {
        "dtc_positive": "DTC-positive", "bone_metastasis": "bone metastasis", "outside_metastasis": "outside bone",
        "any_metastasis": "any", "skeletal_events": "skeletal events",
    }  # fmt: skip
    shown = last.pivot(index="arm", columns="quantity", values="mean").reindex(arms)[list(named)].rename(columns=named)
    lost = f"share of women with each at {format_time(float(last['time_h'].iloc[0]))}, and skeletal events a woman "
    lost += f"({found.tumours.number} tumours a patient)"
    return ["", lost, *shown.round(4).to_string().splitlines()]


def _draw(target: Path, progress: Any) -> None:
    from niche_sim.view.cohort import draw_cohort
    from niche_sim.view.report import write_cohort_report

    progress.say("drawing the figures and the report")
    try:
        draw_cohort(target)
        write_cohort_report(target)
    except ResourceError as error:
        remedy = f"the results in {target} are complete; make room, then `niche-sim plot` and `niche-sim report` draw them"
        raise ResourceError(f"{error}\n{remedy}") from error
