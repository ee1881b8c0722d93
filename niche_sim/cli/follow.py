"""The life of one cell: `niche-sim follow`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from niche_sim.errors import InputError

if TYPE_CHECKING:
    from niche_sim.lineage import Lineage

SUFFIXES = (".csv", ".nwk", ".newick")


@click.command(short_help="Tell the life of a tumour cell or of a clone.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--arm", help="One arm.  [default: every arm]")
@click.option("--cell", type=click.IntRange(min=0), metavar="ID", help="A tumour cell, by its `ident`.")
@click.option("--clone", type=click.IntRange(min=0), metavar="ID", help="A clone: its founder and what came of it.")
@click.option("--lesion", type=click.IntRange(min=1), metavar="N", help="The N-th largest clone at the end, from 1.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the lineage: a row a cell (.csv), or trees (.nwk).")
def follow(
    directory: Path, arm: str | None, cell: int | None, clone: int | None, lesion: int | None, out: Path | None
) -> None:
    """Tell the life of a tumour cell in the result in DIR: when it came, slept, woke, divided and died, where and why.

    Without --cell, --clone or --lesion: the largest lesions at the end of each arm, to choose from. Places are those at the
    moment of the event: bone (lined, an open BMU, one that refills), vessel, or marrow. With --out and nothing
    chosen the lineages of whole arms are written. A clone that came from blood again is a clone of its own.

    \b
    Examples:
      niche-sim follow results/e00
      niche-sim follow results/e00 --arm control --lesion 1
      niche-sim follow results/e00 --clone 38 --out clone38.csv
    """
    from niche_sim.store import load

    choice = {"cell": cell, "clone": clone, "lesion": lesion}
    given = [f"--{name}" for name, value in choice.items() if value is not None]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} exclude each other")
    if out is not None:
        _check_target(out, directory)
    result = load(directory)
    arms = [arm] if arm is not None else result.arms
    try:
        found, missing = _collect(result, arms, choice)
    except InputError as error:
        raise InputError(f"{directory}: {error}") from None
    for line in _tell(result, found, chosen=bool(given)):
        click.echo(line)
    for line in missing:
        click.echo(line)
    if out is not None:
        _write(found, out)


def _check_target(out: Path, directory: Path) -> None:
    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"--out {out}: the suffix tells the format: {', '.join(SUFFIXES)}")
    if out.is_dir() or not out.resolve().parent.is_dir():
        raise InputError(f"--out {out}: {'a folder' if out.is_dir() else 'its folder does not exist'}")
    if out.resolve().is_relative_to(directory.resolve()):
        raise InputError(f"--out {out}: lies in the result, which holds only what the run wrote; give another place")


def _collect(result: Any, arms: list[str], choice: dict[str, int | None]) -> tuple[list["Lineage"], list[str]]:
    """Return the lineages of the arms that have what was chosen, and what the others say; none at all is an error."""
    from niche_sim.lineage import follow as find

    found, missing = [], []
    for name in arms:
        try:
            found.append(find(result, name, **choice))
        except InputError as error:
            missing.append(str(error))
    if not found:
        raise InputError("; ".join(dict.fromkeys(missing)))
    return found, missing


def _tell(result: Any, found: list["Lineage"], chosen: bool) -> list[str]:
    from niche_sim.lineage import list_lesions
    from niche_sim.lineage.telling import tell, tell_lesions

    lines: list[str] = []
    for lineage in found:
        lines += tell(lineage) if chosen else tell_lesions(lineage.arm, list_lesions(result, lineage.arm))
        lines.append("")
    return lines[:-1]


def _write(found: list["Lineage"], out: Path) -> None:
    from niche_sim.lineage import encode_lineages
    from niche_sim.store.folder import replace_file

    replace_file(out, encode_lineages(found, out.name))
    click.echo(f"\nwritten: {out}")
