"""Commands on the results of a study: `niche-sim study summary` and `niche-sim study emulate`."""

import re
from pathlib import Path
from typing import Any

import click

from niche_sim.errors import InputError

_FOLDER = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
_REFERENCE = click.option("--reference", metavar="ARM", help="Arm that others are compared with.  [default: the first]")
PARQUET = ("points", "contrasts")  # a row a point: too long for CSV


@click.command(short_help="Write tables, figures and report of a study.")
@_FOLDER
@click.option("--endpoint", "endpoints", multiple=True, metavar="NAME", help="Draw this endpoint alone; repeatable.")
@_REFERENCE
@click.option("--surface", metavar="FACTORS", help="Draw panels over ACROSS,UP[,LINES[,COLUMNS]] too.")
@click.option("--format", "formats", default="png,svg", show_default=True, metavar="LIST", help="Of png, svg, pdf.")
@click.option("--no-figures", is_flag=True, help="Write the tables alone.")
def summary(
    directory: Path, endpoints: tuple[str, ...], reference: str | None, surface: str | None, formats: str, no_figures: bool
) -> None:
    """Write what the study in DIR found into DIR/summary: tables, figures/, report.html. It may still run.

    Means with intervals, chance apart from parameters, arms compared run by run, and the indices that the design allows
    (Sobol, Morris, partial rank correlation, tornado). Every table and figure counts the runs planned, done, failed and
    missing. docs/studies_results.md tells what each column means.

    \b
    Examples:
      niche-sim study summary results/dtc_escape
      niche-sim study summary results/dtc_escape --endpoint cycling_end --reference control
      niche-sim study summary results/protection --surface interval,dose,drug,until
    """
    from niche_sim.study.results import count_runs, load_study_results, tell_counts
    from niche_sim.study.summary import summarise
    from niche_sim.view.figures import read_formats

    kinds = read_formats(formats)
    results = load_study_results(directory, reference)
    for endpoint in endpoints:
        results.check_endpoint(endpoint)
    panels: list[str] = []
    if surface:
        from niche_sim.view.maps import read_axes

        panels = read_axes(results, surface)
    tables, notes = summarise(results)
    written = _write_tables(tables, directory / "summary")
    if not no_figures:
        written += _write_pages(directory, results, tables, notes, endpoints, panels, kinds)
    click.echo(f"{results.study.name}: {tell_counts(count_runs(results.runs))}")
    told = [*_tell_responses(tables), *notes, f"{len(written)} files in {directory / 'summary'}"]
    click.echo("\n".join(told if no_figures else [*told, str(written[-1])]))


def _write_tables(tables: dict[str, Any], folder: Path) -> list[Path]:
    from niche_sim.store import replace_file
    from niche_sim.store.tables import encode_table

    paths = []
    for name, table in tables.items():
        path = folder / (f"{name}.parquet" if name in PARQUET else f"{name}.csv")
        content = encode_table(table) if name in PARQUET else table.to_csv(index=False, lineterminator="\n").encode()
        replace_file(path, content)
        paths.append(path)
    return paths


def _write_pages(
    directory: Path, results: Any, tables: dict[str, Any], notes: list[str], endpoints: tuple[str, ...],
    panels: list[str], kinds: tuple[str, ...],
) -> list[Path]:  # fmt: skip
    """Draw the figures and write the report, which shows them."""
    from niche_sim.view.study import draw_study
    from niche_sim.view.study_methods import describe_folder
    from niche_sim.view.study_report import write_study_report

    folder = directory / "summary"
    formats = tuple(dict.fromkeys(("png", *kinds)))  # the report shows PNG
    drawn = draw_study(results, tables, folder / "figures", endpoints=endpoints, surface=panels, formats=formats)
    about = describe_folder(directory, results)
    shown = [path.stem for path in drawn if path.suffix == ".png"]
    return [*drawn, write_study_report(results, tables, notes, about, folder, shown)]


def print_study_methods(directory: Path) -> str:
    """Return the methods of the study in a folder as plain text: what `niche-sim report --methods` prints of one."""
    from niche_sim.study.results import load_study_results
    from niche_sim.view.methods import print_paragraphs
    from niche_sim.view.study_methods import describe_folder, write_study_methods

    results = load_study_results(directory)
    return print_paragraphs(write_study_methods(results, describe_folder(directory, results)))


def _tell_responses(tables: dict[str, Any]) -> list[str]:
    """Return the responses, and what each depends on most, in lines."""
    from niche_sim.view.sensitivity import find_notable

    lines = []
    for row in tables["responses"].to_dict("records"):
        if not row["points"]:
            continue  # a note says so
        limits = f" [{row['low']:.4g}, {row['high']:.4g}]" if row["low"] == row["low"] else ""
        share = row["parameter_share"]
        by = f", {100 * share:.0f} % of the variance by parameters" if share == share else ""
        lines.append(f"{row['endpoint']}, {row['response']}: {row['mean']:.4g}{limits} {row['unit']}{by}")
    for endpoint in dict.fromkeys(tables["responses"]["endpoint"]):
        found = find_notable(tables, endpoint)
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        lines.append(f"{endpoint} depends on {', '.join(found[:5]) or 'no factor, as far as can be told from chance'}{more}")
    return lines


@click.command(short_help="Predict between the points of a study.")
@_FOLDER
@click.option("--endpoint", required=True, metavar="NAME", help="What to predict.")
@click.option("--at", default="", metavar='"NAME=VALUE, ..."', help="Where; each factor that is not named at its middle.")
@click.option("--arm", metavar="ARM", help="Of this arm.  [default: the first]")
@click.option("--difference", is_flag=True, help="Predict the arm less the reference instead.")
@_REFERENCE
@click.option("--format", "formats", default="png,svg", show_default=True, metavar="LIST", help="Of png, svg, pdf.")
def emulate(
    directory: Path, endpoint: str, at: str, arm: str | None, difference: bool, reference: str | None, formats: str
) -> None:
    """Train a Gaussian process on the study in DIR, print what it predicts and how well it predicts points it was not shown.

    It draws the prediction along each factor into DIR/summary/figures. For exploration: it knows nothing outside the ranges
    of the study, which it refuses, and a Q2 below 0.5 means that it knows little inside them.

    \b
    Example:
      niche-sim study emulate results/dtc_escape --endpoint cycling_end --at "dormancy.exit_rate=0.001 /d, dose=4 mg"
    """
    import matplotlib

    from niche_sim.study.emulator import POOR_Q2, read_place, train
    from niche_sim.study.results import count_runs, load_study_results, tell_counts
    from niche_sim.view.common import STYLE
    from niche_sim.view.figures import read_formats, write_figure
    from niche_sim.view.response import emulator_sheet

    kinds = read_formats(formats)
    results = load_study_results(directory, reference)
    label = _choose_response(results, arm, difference)
    emulator = train(results, endpoint, label, results.study.design.seed)
    place = read_place(results, emulator, at)
    mean, low, high = (float(part[0]) for part in emulator.predict(place[None, :]))
    click.echo(f"{results.study.name}: {tell_counts(count_runs(results.runs))}")
    click.echo(f"Gaussian process through {len(emulator.y)} of {emulator.available} points. {emulator.tell_error()}")
    if emulator.q2 < POOR_Q2:
        cause = "the study has too few points, or chance hides what parameters do"
        click.echo(f"warning: Q2 is below {POOR_Q2}: {cause}", err=True)
    units = {factor.name: factor.unit for factor in results.study.factors}
    for name, value in zip(emulator.factors, place):
        click.echo(f"  {name} = {tell_place(results.find_words(name), value)} {units[name]}".rstrip())
    click.echo(f"{endpoint}, {label}: {mean:.4g} {emulator.unit} (95 % interval of the mean {low:.4g} to {high:.4g})")
    with matplotlib.rc_context(STYLE):
        folder, name = directory / "summary" / "figures", _name_emulator(endpoint, results.responses[label])
        for path in write_figure(emulator_sheet(results, emulator, place), folder, name, kinds):
            click.echo(str(path))


def tell_place(words: dict[float, str], value: float) -> str:
    """Return a number, or the word that it stands for; between two words, both."""
    between = ", ".join(f"{number:g}: {word}" for number, word in sorted(words.items()))
    return words.get(value, f"{value:.6g}" + (f" ({between})" if words else ""))


def _name_emulator(endpoint: str, arms: tuple[str, ...]) -> str:
    """Return the name of the figure of an emulator, with characters that any disk takes."""
    return re.sub(r"[^\w.-]", "_", f"emulator_{endpoint}_{'-less-'.join(arms)}")


def _choose_response(results: Any, arm: str | None, difference: bool) -> str:
    others = [name for name in results.arms if name != results.reference]
    if arm is None:
        arm = (others or results.arms)[0] if difference else results.arms[0]
    if arm not in results.arms:
        raise InputError(f"--arm: no {arm!r}; there is {', '.join(results.arms)}")
    if not difference:
        return str(arm)
    if arm == results.reference:
        raise InputError(f"--difference: {arm} is the reference; name another --arm or --reference")
    return f"{arm} − {results.reference}"
