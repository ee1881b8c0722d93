"""Films: `niche-sim movie`."""

import sys
from pathlib import Path

import click

from niche_sim.errors import InputError

FORMATS = ("mp4", "gif")


@click.command(short_help="Make a film of a result.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="A .mp4 or .gif.  [default: DIR/figures/movie.mp4 and .gif]")
@click.option("--format", "kind", type=click.Choice(FORMATS), help="One format.  [default: both]")
@click.option("--arm", "arms", multiple=True, help="An arm; may be repeated.  [default: every arm]")
@click.option("--overlay", metavar="NAME", help="A field, suitability, limiting_term, drug_surface, drug_buried or bmu.")
@click.option("--plane", type=click.IntRange(min=0), help="Plane (z) of a stack.  [default: the middle one]")
@click.option("--volume", is_flag=True, help="Show a stack from a side, turning, instead of one plane.")
@click.option("--fps", type=click.IntRange(1, 60), help="Pictures a second.  [default: the film lasts some 14 s]")
@click.option("--size", type=click.IntRange(64, 2000), help="Pixels of a patch, about.  [default: fits a screen]")
def movie(
    directory: Path, out: Path | None, kind: str | None, arms: tuple[str, ...], overlay: str | None, plane: int | None,
    volume: bool, fps: int | None, size: int | None,
) -> None:  # fmt: skip
    """Make a film of the result in DIR from its recorded pictures, without simulating again.

    The arms side by side with clock, scale and legend, above the main series with a mark that moves. A film shows what was
    recorded: for a smooth one, run with `--set "record.pictures=7 d"`, and for fields with `--set "record.fields=7 d"` too.
    MP4 needs the extra `movie`; GIF needs nothing.

    \b
    Examples:
      niche-sim movie results/e00
      niche-sim movie results/e00 --overlay drug_surface --format gif
      niche-sim movie results/solid --volume --arm control --out solid.mp4
    """
    from niche_sim.cli.results import _require_sound
    from niche_sim.view.encoding import load_av
    from niche_sim.view.movie import build_film, write_film

    if volume and plane is not None:
        raise click.UsageError("--plane and --volume exclude each other")
    targets = _choose_targets(directory, out, kind, overlay)
    if any(path.suffix.lower() == ".mp4" for path in targets):
        load_av()
    _require_sound(directory)
    from niche_sim.store import load

    film = build_film(load(directory), arms=arms, overlay=overlay, plane=plane, in_volume=volume, size=size)
    quiet = not sys.stderr.isatty()
    with click.progressbar(length=len(film.times_h), label="pictures", file=sys.stderr, hidden=quiet) as bar:
        write_film(film, targets, fps, lambda done, total: bar.update(1))
    for path in targets:
        click.echo(str(path))


def _choose_targets(directory: Path, out: Path | None, kind: str | None, overlay: str | None) -> list[Path]:
    if out is None:
        name = "movie" if overlay is None else f"movie_{overlay}"
        return [directory / "figures" / f"{name}.{ending}" for ending in ([kind] if kind else FORMATS)]
    ending = out.suffix.lower().removeprefix(".")
    if ending not in FORMATS or (kind is not None and ending != kind):
        raise InputError(f"--out {out}: the suffix tells the format: {f'.{kind}' if kind else '.mp4 or .gif'}")
    if out.is_dir() or not out.resolve().parent.is_dir():
        raise InputError(f"--out {out}: {'a folder' if out.is_dir() else 'its folder does not exist'}")
    inside = out.resolve().is_relative_to(directory.resolve())
    if inside and not out.resolve().is_relative_to(directory.resolve() / "figures"):
        raise InputError(f"--out {out}: lies in the result, which holds only what the run wrote; give another place")
    return [out]
