"""`niche-sim study`: run a parameter study, and say how far one is."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from niche_sim.cli.cluster import open_executor, study_options
from niche_sim.cli.study_summary import emulate, summary
from niche_sim.errors import InputError, Interrupted

if TYPE_CHECKING:
    from niche_sim.study.store import Status

EXIT_FAILED = 6
_HELP = {"-h", "--help"}


class StudyGroup(click.Group):
    """A group whose first word may be a study instead of a command: then the command is `run`."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """Put `run` before what begins with neither a command nor a question for help."""
        if arguments and arguments[0] not in self.commands and arguments[0] not in _HELP:
            arguments = ["run", *arguments]
        return super().parse_args(context, arguments)


@click.group(cls=StudyGroup, short_help="Run a parameter study, or look at one.")
def study() -> None:
    """Run a parameter study: `niche-sim study STUDY.yaml`, which is short for `niche-sim study run STUDY.yaml`.

    A study names an experiment, what differs between runs, a design of points, and what is to be read off each run;
    docs/studies.md tells how to write one. Results are a table with a row a run, in DIR/runs/*.parquet, which may be read
    while the study runs: pandas.read_parquet("DIR/runs").

    \b
    Examples:
      niche-sim plan my_study.yaml
      niche-sim study my_study.yaml --out results/my_study --jobs 4
      niche-sim study status results/my_study
      niche-sim resume results/my_study
      niche-sim study summary results/my_study
    """


study.add_command(summary)
study.add_command(emulate)

@study.command("run", short_help="Run a study; the word `run` may be left out.")
@click.argument("file", metavar="STUDY")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the study.  [default: results/NAME]")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Replace one value; repeatable.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@study_options
def run(
    file: str, out: Path | None, settings: tuple[str, ...], quiet: bool, jobs: int | None, executor: str | None,
    limit: int | None, retry_failed: bool, **cluster: Any,
) -> int:  # fmt: skip
    """Run STUDY into DIR. If DIR holds a part of it, only what is missing is run; another study's folder is refused.

    A run that fails three times is a row with the status `failed` and its error; the rest goes on, and the exit code is 6.
    What is done survives Ctrl-C, SIGTERM, a full disk, and the death of this process or of any worker: `niche-sim resume
    DIR` goes on.
    """
    from niche_sim.study.gate import load_study
    from niche_sim.study.running import run_study

    loaded = load_study(file, sets=settings)
    target = out if out is not None else Path("results") / loaded.name
    chosen = open_executor(executor, jobs, quiet, **cluster)
    if chosen is None:
        return 0
    try:
        found = run_study(loaded, target, chosen, limit=limit, retry_failed=retry_failed, quiet=quiet)
    except (KeyboardInterrupt, Interrupted):
        raise stopped(target) from None
    return conclude(found, target, quiet)


@study.command(short_help="Say how far a study is.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(directory: Path, as_json: bool) -> None:
    """Say how many runs of the study in DIR are planned, done and failed, how fast it runs, and the time that is left.

    It reads the files of DIR alone, so it may be asked from anywhere, while the study runs and afterwards.
    """
    from niche_sim.study.store import open_folder

    found = open_folder(directory).status()
    if as_json:
        click.echo(json.dumps(asdict(found) | {"missing": found.missing}, indent=1))
        return
    click.echo("\n".join(describe_status(found, directory)))


def describe_status(found: "Status", directory: Path) -> list[str]:
    """Return how far a study is, in lines."""
    from niche_sim.study.running import describe_progress

    over = found.missing == 0
    state = f"runs, driven by process {found.driver}" if found.driver else "finished" if over else "stopped"
    reached = describe_progress(
        found.done + found.failed, found.planned, found.failed, found.rate, None if over else found.hours_left
    )
    lines = [
        f"study      {found.name}: {state}",
        f"runs       {reached}",
        f"batches    {found.batches_written:,} of {found.batches:,}, {found.bytes_written:,} bytes in {directory / 'runs'}",
    ]
    if not over and not found.driver:
        lines.append(f"           `niche-sim resume {directory}` goes on")
    return lines


def conclude(found: "Status", directory: Path, quiet: bool) -> int:
    """Say how a study ended and return the exit code: EXIT_FAILED if runs failed."""
    if not quiet:
        click.echo("\n".join(describe_status(found, directory)))
    if found.failed:
        click.echo(
            f"niche-sim: {found.failed:,} of {found.planned:,} runs failed; the column `error` of {directory / 'runs'} says "
            f"why and `niche-sim resume {directory} --retry-failed` runs them again",
            err=True,
        )
        return EXIT_FAILED
    return 0


def stopped(directory: Path) -> Interrupted:
    """Return the error of a study that was stopped from outside."""
    return Interrupted(f"stopped; `niche-sim resume {directory}` goes on")


def holds_study(directory: Path) -> bool:
    """Tell whether a folder is that of a study, or of one that was about to begin; light, because other commands ask it."""
    return any((directory / name).is_file() for name in ("study.json", ".lock"))


def resume_folder(
    directory: Path, quiet: bool, jobs: int | None, executor: str | None, limit: int | None, retry_failed: bool,
    **cluster: Any,
) -> int:  # fmt: skip
    """Go on with the study in a folder: what `niche-sim resume` does with one."""
    from niche_sim.study.running import resume_study

    chosen = open_executor(executor, jobs, quiet, **cluster)
    if chosen is None:
        return 0
    try:
        found = resume_study(directory, chosen, limit=limit, retry_failed=retry_failed, quiet=quiet)
    except (KeyboardInterrupt, Interrupted):
        raise stopped(directory) from None
    return conclude(found, directory, quiet)


def verify_folder(directory: Path) -> None:
    """Check the files of a study: what `niche-sim verify` does with one."""
    from niche_sim.study.store import open_folder

    folder = open_folder(directory)
    problems = folder.verify()
    if problems:
        raise InputError("\n".join(f"{directory / problem.path}: {problem.message}" for problem in problems))
    found = folder.status()
    click.echo(f"{directory}: ok" if not found.missing else f"{directory}: sound so far, {found.missing:,} runs are missing")


def hash_folder(directory: Path) -> str:
    """Return the hash of a study: what `niche-sim hash` prints of one."""
    from niche_sim.study.store import open_folder

    return open_folder(directory).hash()
