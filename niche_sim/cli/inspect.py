"""Commands that look without running: check, plan, sources, schema, list."""

import json
from dataclasses import asdict
from typing import Any

import click

from niche_sim.errors import InputError


@click.command(short_help="Check experiment, study and other configuration files.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a mistake.")
def check(files: tuple[str, ...], as_json: bool) -> int:
    """Check FILEs and report every mistake of each, with line, column and what was expected.

    A file with `design:` is a study: its factors and the first 2000 of its points are checked too.

    Exit code 2 if there is any mistake. With --json each line holds file, line, column, path, code, message.

    \b
    Examples:
      niche-sim check my_experiment.yaml
      niche-sim check experiments/*/experiment.yaml --json
    """
    from niche_sim.config import check_files
    from niche_sim.study.finding import find_study
    from niche_sim.submodels.finding import find_submodel

    seen: set[Any] = set()
    for file in dict.fromkeys(files):
        # One file at a time: a mistake may lie in another file that this one names.
        submodel = find_submodel(file)
        if find_study(file) is not None:
            from niche_sim.study.gate import check_study

            problems = check_study(file)
        elif submodel is None:
            problems = check_files([file])
        else:
            from niche_sim.submodels.running import check_submodel

            problems = check_submodel(str(submodel))
        for problem in problems:
            if problem not in seen:
                click.echo(json.dumps(asdict(problem)) if as_json else str(problem), err=not as_json)
        seen.update(problems)
        if not problems and not as_json:
            click.echo(f"{file}: ok")
    return InputError.exit_code if seen else 0


@click.command(short_help="Say what a run or a study would need.")
@click.argument("experiment", metavar="EXPERIMENT|STUDY")
@click.option("--length", help='Replace the simulated time, e.g. "90 d" or "2 yr".')
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Replace one value; repeatable.")
@click.option("--jobs", type=click.IntRange(1, 100_000), help="Of a study: runs side by side.  [default: the processors]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def plan(experiment: str, length: str | None, settings: tuple[str, ...], jobs: int | None, as_json: bool) -> None:
    """Say how many voxels, cells, ticks, and how much memory and disk a run of EXPERIMENT needs.

    Also tells the tick against its limit of accuracy: the largest hazard times the tick should stay small. A run that
    does not fit into the free memory is refused with exit code 4, as `run` refuses it.

    Of a STUDY, a file with `design:`, it says how many points, runs, batches, hours and bytes; every point is checked.
    """
    from niche_sim.config import load_experiment
    from niche_sim.plan import check_memory, count_processors, describe_plan, estimate
    from niche_sim.study.finding import find_study

    if find_study(experiment) is not None:
        settings += (f"time.length={length}",) if length is not None else ()
        _plan_study(experiment, settings, jobs or count_processors(), as_json)
        return
    if jobs is not None:
        raise InputError("--jobs: an experiment has arms, which `run --threads` runs side by side; a study has jobs")
    loaded = load_experiment(experiment, sets=settings, length=length)
    check_memory(loaded, count_processors())
    need = estimate(loaded, count_processors())
    click.echo(json.dumps(need, indent=1) if as_json else "\n".join(describe_plan(need)))


def _plan_study(study: str, settings: tuple[str, ...], jobs: int, as_json: bool) -> None:
    from niche_sim.study.design import build_design
    from niche_sim.study.gate import load_study
    from niche_sim.study.runs import describe_estimate, estimate

    loaded = load_study(study, sets=settings)
    need = estimate(loaded, build_design(loaded), jobs, lambda text: click.echo(text, err=True))
    click.echo(json.dumps(need, indent=1) if as_json else "\n".join(describe_estimate(need)))


@click.command(short_help="Print every number with its source.")
@click.argument("experiment")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Replace one value; repeatable.")
@click.option("--bibtex", is_flag=True, help="Print the papers used, as BibTeX.")
def sources(experiment: str, settings: tuple[str, ...], bibtex: bool) -> None:
    """Print every number that EXPERIMENT uses with range, status and source, and the papers behind them."""
    from niche_sim.config import load_experiment
    from niche_sim.store.sources import collect_rows, count_statuses, list_papers, read_references, write_bibtex

    rows = collect_rows(load_experiment(experiment, sets=settings))
    papers = list_papers(rows)
    if bibtex:
        click.echo(write_bibtex(papers), nl=False)
        return
    headings = ("name", "value", "range", "status", "source")
    texts = [(r.name, r.value, " to ".join(r.range), r.status, r.source) for r in rows]
    widths = [max(len(line[k]) for line in [headings, *texts]) for k in range(len(headings))]
    for line in [headings, *texts]:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip())
    counts = ", ".join(f"{count} {status}" for status, count in count_statuses(rows).items())
    click.echo(f"\n{len(rows)} numbers: {counts}")
    click.echo(f"{len(papers)} papers (--bibtex prints them): " + ", ".join(papers))
    own = [key for key in papers if key not in read_references()]
    if own:
        click.echo(f"not in the shipped references.bib: {', '.join(own)}")


@click.command(short_help="Print the JSON Schema of experiment or study files.")
@click.option("--study", is_flag=True, help="That of study files.")
def schema(study: bool) -> None:
    """Print the JSON Schema of experiment files, or of study files, for editors that complete and check.

    \b
    Example:
      niche-sim schema > experiment.schema.json
      # then, as the first line of an experiment:
      # yaml-language-server: $schema=experiment.schema.json
    """
    from niche_sim.config import experiment_schema
    from niche_sim.study.schema import study_schema

    click.echo(json.dumps(study_schema() if study else experiment_schema(), indent=1))


@click.command("list", short_help="List what is shipped.")
def listing() -> None:
    """List the shipped experiments, studies, scenes, patients, regimens, drugs, parameter sets, sub-models, with titles."""
    from niche_sim.config.library import list_available, read_title
    from niche_sim.submodels.finding import list_examples

    for kind, names in (list_available() | {"submodels": list_examples()}).items():
        click.echo(f"{kind}:")
        for name in names:
            click.echo(f"  {name:<28}  {read_title(kind, name)}".rstrip())
