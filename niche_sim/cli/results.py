"""Commands that take a results folder: hash, verify, plot, report, export, histomorphometry."""

import json
import math
from pathlib import Path
from typing import Any

import click

from niche_sim.errors import InputError

_FOLDER = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))


@click.command("hash", short_help="Print the hash of a result.")
@_FOLDER
def hash_command(directory: Path) -> None:
    """Print the SHA-256 over the final state and every table of the result in DIR.

    It is computed again from the values in the files, after comparing their checksums. Two runs of the same
    experiment with the same seed have the same hash, whatever the number of threads. Of a
    study it is over the values of all rows.
    """
    from niche_sim.cli.study import hash_folder, holds_study
    from niche_sim.store import hash_result

    click.echo(hash_folder(directory) if holds_study(directory) else hash_result(directory))


@click.command(short_help="Check every file of a result.")
@_FOLDER
def verify(directory: Path) -> None:
    """Compare every file of the result or study in DIR, or of its checkpoints, with the checksum written beside it.

    Exit code 2, and one line a file, if anything was changed, lost or added.
    """
    from niche_sim.cli.study import holds_study, verify_folder
    from niche_sim.store import verify as find_problems
    from niche_sim.store.checkpoints import SUFFIX, find_damage, place_of

    if holds_study(directory):
        verify_folder(directory)
        return
    directory = directory.with_name(directory.name.removesuffix(SUFFIX))
    if not directory.exists() and place_of(directory).exists():
        damage = find_damage(directory)
        if damage:
            raise InputError("\n".join([*damage, _count(len(damage))]))
        click.echo(f"{directory}: unfinished, its checkpoints are sound; `niche-sim resume {directory}` goes on")
        return
    problems = find_problems(directory)
    if problems:
        lines = [f"{directory / problem.path}: {problem.message}" for problem in problems]
        raise InputError("\n".join([*lines, _count(len(lines))]))
    click.echo(f"{directory}: ok")


def _count(number: int) -> str:
    return f"{number} {'file is' if number == 1 else 'files are'} not as written"


def _is_cohort(directory: Path) -> bool:
    from niche_sim.store.manifest import COHORT_FORMAT, read_manifest

    return bool(read_manifest(directory)["format"] == COHORT_FORMAT)


def _require_sound(directory: Path) -> None:
    """Refuse what is no result, or not the one that was written, before anything is drawn from it."""
    from niche_sim.store import load
    from niche_sim.store import verify as find_problems

    if not _is_cohort(directory):
        load(directory)
    problems = find_problems(directory)
    if problems:
        raise InputError("\n".join(f"{directory / problem.path}: {problem.message}" for problem in problems))


@click.command(short_help="Draw the figures of a result.")
@_FOLDER
@click.option("--format", "formats", default="png,svg", show_default=True, metavar="LIST", help="Of png, svg, pdf.")
@click.option(
    "--dpi", type=click.IntRange(30, 1200), default=150, show_default=True,
    help="Pixels an inch; journals often ask for 300.",
)  # fmt: skip
@click.option("--only", multiple=True, metavar="NAME", help="Draw this figure alone; repeatable.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Where to.  [default: DIR/figures]")
def plot(directory: Path, formats: str, dpi: int, only: tuple[str, ...], out: Path | None) -> None:
    """Draw the figures of the result or cohort in DIR again.

    Files of the same name are replaced. The same result gives the same bytes. docs/figures.md tells what each figure shows.

    \b
    Examples:
      niche-sim plot results/e00
      niche-sim plot results/e00 --only series --only fate --format pdf --out paper
      niche-sim plot results/e00 --only lattice --format png --dpi 300
    """
    from niche_sim.view.figures import read_formats

    _require_sound(directory)
    place = _check_folder(directory, out)
    options: dict[str, Any] = {"formats": read_formats(formats), "dpi": dpi, "only": only, "out": place}
    if _is_cohort(directory):
        from niche_sim.view.cohort import draw_cohort

        paths = draw_cohort(directory, **options)
    else:
        from niche_sim.view.figures import draw_figures

        paths = draw_figures(directory, **options)
    for path in paths:
        click.echo(str(path))


def _check_folder(directory: Path, out: Path | None) -> Path | None:
    """Refuse a place for figures that is a file, or where they would not belong to the result."""
    if out is None:
        return None
    if out.exists() and not out.is_dir():
        raise InputError(f"--out: {out} is a file; name a folder")
    top, target = directory.resolve(), out.resolve()
    if target.is_relative_to(top) and not target.is_relative_to(top / "figures"):
        raise InputError(f"--out: {out} is inside the result; its figures belong in {directory / 'figures'}")
    return out


@click.command(short_help="Write the report of a result.")
@_FOLDER
@click.option("--methods", is_flag=True, help="Print the methods as plain text instead, and write nothing.")
def report(directory: Path, methods: bool) -> None:
    """Write the report of the run or cohort in DIR again: one HTML file that needs nothing else, no network either.

    It has what happened, charts to zoom and to read, the pictures of DIR/figures, the methods in sentences, every number
    with its source, and the references. The report of a study is written by `niche-sim study summary DIR`; --methods
    prints those of a study too, with its factors, design, endpoints and counts of runs.

    \b
    Examples:
      niche-sim report results/e00
      niche-sim report results/e00 --methods > methods.txt
    """
    from niche_sim.cli.study import holds_study

    if methods and holds_study(directory):
        from niche_sim.cli.study_summary import print_study_methods

        click.echo(print_study_methods(directory), nl=False)
        return
    _require_sound(directory)
    if methods:
        from niche_sim.store.manifest import read_manifest
        from niche_sim.view.methods import print_methods

        click.echo(print_methods(read_manifest(directory)), nl=False)
        return
    from niche_sim.view.report import write_cohort_report, write_report

    click.echo(str((write_cohort_report if _is_cohort(directory) else write_report)(directory)))


@click.command(short_help="Write maps, fields and cells for ParaView and napari.")
@_FOLDER
@click.option("--to", "target", required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="Folder to create.")
@click.option(
    "--format", "kind", type=click.Choice(["vtk", "ome-zarr", "both"]), default="both", show_default=True,
    help="vtk for ParaView, ome-zarr for napari.",
)  # fmt: skip
@click.option("--arm", "arms", multiple=True, metavar="ARM", help="This arm alone; repeatable.  [default: every arm]")
def export(directory: Path, target: Path, kind: str, arms: tuple[str, ...]) -> None:
    """Write what the run in DIR recorded of its lattice for other viewers, in 2-D and 3-D; lengths in um, times in h.

    Maps need `record: pictures`, fields `record: fields`, cells either or `record: cells`. FOLDER appears whole or not at
    all. docs/figures.md tells how to open it.

    \b
    Examples:
      niche-sim export results/niche_3d --to paraview --format vtk
      niche-sim export results/niche_3d --to napari --format ome-zarr --arm zoledronate
    """
    if directory.exists():
        _require_sound(directory)
    from niche_sim.view.export import export_result

    for path in export_result(directory, target, format=kind, arms=arms):
        click.echo(str(path))


@click.command(short_help="Print the histomorphometry of a result.")
@_FOLDER
@click.option("--arm", help="One arm.  [default: every arm]")
@click.option("--from", "start", metavar="TIME", help='Leave out what was recorded up to this time, e.g. "1 yr".')
@click.option("--to", "end", metavar="TIME", help="Leave out what was recorded after this time.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: a list of lines an arm.")
def histomorphometry(directory: Path, arm: str | None, start: str | None, end: str | None, as_json: bool) -> None:
    """Print the standard quantities of bone histomorphometry of the result in DIR beside those measured in people.

    Means over the window with one standard error (over ten blocks of time, births, or BMUs that ended in the window).
    A mean agrees if it lies within two standard errors of the interval of the literature for such a patient.

    \b
    Example:
      niche-sim histomorphometry results/untreated --from "1 yr" --arm control
    """
    from niche_sim.histomorphometry import histomorphometry as tabulate
    from niche_sim.histomorphometry import write_table
    from niche_sim.store import load

    start_h, end_h = _read_time(start, "--from", 0.0), _read_time(end, "--to", math.inf)
    result = load(directory)
    tables = {name: tabulate(result, name, start_h, end_h) for name in ([arm] if arm is not None else result.arms)}
    if as_json:
        # pandas writes what is no number as null; json.dumps alone would write NaN, which no other reader takes.
        lines = {name: json.loads(table.to_json(orient="records", double_precision=15)) for name, table in tables.items()}
        click.echo(json.dumps(lines, indent=1))
        return
    for name, table in tables.items():
        click.echo("\n".join([f"{name}:", *write_table(table), ""]))


def _read_time(text: str | None, option: str, default: float) -> float:
    from niche_sim.units import convert

    try:
        return default if text is None else convert(text, "h")
    except InputError as error:
        raise InputError(f"{option}: {error}") from None
