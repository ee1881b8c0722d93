"""Commands that go on from, or repeat, what was run before: resume, rerun, branch."""

import re
import shutil
from pathlib import Path
from typing import Any

import click

from niche_sim.cli.cluster import list_given, study_options
from niche_sim.cli.run import draw, simulate, summarise
from niche_sim.errors import InputError, NumericalError
from niche_sim.plan import count_processors

_FOLDER = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
_OUT = click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to create.")
_THREADS = click.option("--threads", type=click.IntRange(1, 1024), help="Arms run side by side.")
_QUIET = click.option("--quiet", is_flag=True, help="Print nothing but errors.")
_NO_FIGURES = click.option("--no-figures", is_flag=True, help="Skip figures and report.")


@click.command(short_help="Go on with a run that was stopped or killed.")
@_FOLDER
@_THREADS
@_QUIET
@study_options
def resume(directory: Path, threads: int | None, quiet: bool, **options: Any) -> int:
    """Go on with the run into DIR from its checkpoints in DIR.unfinished, or with the study in DIR.

    The results are those of a run that was never stopped, bit for bit, on any number of threads. A damaged
    checkpoint is named and the one before it is used. Of a study only the batches that are missing or damaged are run; it
    takes the options of `niche-sim study`, from --jobs on, which may be others than those it was begun with.

    \b
    Examples:
      niche-sim resume results/long_run --threads 2
      niche-sim resume results/my_study --executor dask --scheduler tcp://127.0.0.1:8786
    """
    from niche_sim.cli.study import holds_study, resume_folder
    from niche_sim.config import load_experiment
    from niche_sim.progress import ProgressReport
    from niche_sim.store.checkpoints import SUFFIX, place_of, read_unfinished

    if holds_study(directory):
        if threads is not None:
            raise InputError(f"--threads: {directory} is a study, whose batches run side by side; say how many with --jobs")
        return resume_folder(directory, quiet, **options)
    target = directory.with_name(directory.name.removesuffix(SUFFIX))
    if list_given(options) and (target.exists() or place_of(target).exists()):
        given = list_given(options)[0]
        raise InputError(f"{given}: only of a study, and {directory} is none; the arms of a run take --threads")
    if (target / "manifest.json").exists():
        from niche_sim.store import load

        load(target)
        shutil.rmtree(place_of(target), ignore_errors=True)  # killed after the results were in place
        click.echo(f"{target}: is complete", err=True)
        return 0
    folder, about = read_unfinished(target)
    experiment = load_experiment(str(folder / "resolved.yaml"))
    with ProgressReport(quiet=quiet) as progress:
        simulate(experiment, target, threads or count_processors(), progress, every=about["every"], resuming=True)
        if about["figures"]:
            draw(target, progress)
    assert not place_of(target).exists()
    if not quiet:
        click.echo("\n".join(summarise(target)))
    return 0


@click.command(short_help="Run a result again and compare the hashes.")
@_FOLDER
@_OUT
@_THREADS
@_QUIET
@_NO_FIGURES
def rerun(directory: Path, out: Path, threads: int | None, quiet: bool, no_figures: bool) -> None:
    """Run the configuration of the result in DIR again, into OUT, and compare the hashes.

    Exit code 2 if a file of DIR is not as it was written, 3 if the hashes differ.
    """
    from niche_sim.config import load_experiment
    from niche_sim.progress import ProgressReport
    from niche_sim.store import hash_result, load

    before = hash_result(directory)  # refuses, by name, what was changed
    experiment = load_experiment(str(directory / "resolved.yaml"))
    with ProgressReport(quiet=quiet) as progress:
        simulate(experiment, out, threads or count_processors(), progress, every=None)
        if not no_figures:
            draw(out, progress)
    after = hash_result(out)
    if after != before:
        old, new = (load(folder).manifest["versions"] for folder in (directory, out))
        changed = [f"{name} {old[name]} -> {new.get(name)}" for name in old if old[name] != new.get(name)]
        raise NumericalError(f"{out}: hash {after}, but {directory} has {before}; versions: {', '.join(changed) or 'equal'}")
    click.echo(f"equal: {after}")


@click.command(short_help="Run a result again with something changed from a time on.")
@_FOLDER
@click.option("--at", "moment", required=True, metavar="TIME", help='When the change begins, e.g. "1 yr".')
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Parameter or switch from then on; repeatable.")
@click.option("--regimen", help="Name or file of a regimen that replaces what was to be given; its time 0 is TIME.")
@click.option("--length", help="Replace the simulated time.")
@click.option("--give", "dose", metavar="DRUG DOSE", help='Give one dose at TIME beside all others, "clodronate 300 mg iv".')
@click.option("--arm", "arms", multiple=True, help="Change only this arm; repeatable.  [default: all]")
@_OUT
@_THREADS
@_QUIET
@_NO_FIGURES
def branch(
    directory: Path, moment: str, settings: tuple[str, ...], regimen: str | None, length: str | None,
    dose: str | None, arms: tuple[str, ...], out: Path, threads: int | None, quiet: bool,
    no_figures: bool,
) -> None:  # fmt: skip
    """Repeat the result in DIR until TIME, then go another way, into OUT.

    Until TIME every event is that of DIR, bit for bit: draws have addresses, so the past is computed again. After it, the
    parameters and switches of --set hold, --regimen replaces the doses still to come, and --give adds one.

    \b
    Examples:
      niche-sim branch results/e00 --at "1 yr" --regimen zoledronate_q6m --arm zoledronate --out results/spaced
      niche-sim branch results/e00 --at "180 d" --give "clodronate 300 mg iv" --arm control --out results/one_dose
    """
    from niche_sim.config import build_experiment
    from niche_sim.config.branching import branch_mapping
    from niche_sim.progress import ProgressReport
    from niche_sim.store import hash_result, load

    if not settings and regimen is None and length is None and dose is None:
        raise InputError("branch: nothing is changed; use --set, --regimen, --give or --length")
    hash_result(directory)
    mapping = branch_mapping(load(directory).experiment_mapping, moment, settings, regimen, length, arms)
    if dose is not None:
        mapping = _give(build_experiment(mapping, str(directory / "branch")).resolved(), dose, moment, arms)
    experiment = build_experiment(mapping, str(directory / "branch"))  # what the result names lies beside it
    with ProgressReport(quiet=quiet) as progress:
        simulate(experiment, out, threads or count_processors(), progress, every=None)
        if not no_figures:
            draw(out, progress)
    if not quiet:
        click.echo("\n".join(summarise(out)))


def _give(mapping: dict[str, Any], dose: str, moment: str, arms: tuple[str, ...]) -> dict[str, Any]:
    """Return an experiment with one dose more in arms, all of them if none is named."""
    from niche_sim.config.editing import give_dose
    from niche_sim.units import convert

    found = re.fullmatch(r"\s*([A-Za-z][\w-]*)\s+([\d.eE+-]+\s*[^\s\d]+)(?:\s+([a-z]+))?\s*", dose)
    if found is None:
        raise InputError(f"--give: expected a drug, a dose and perhaps a route, such as 'zoledronate 4 mg iv', not '{dose}'")
    for arm in arms or mapping["arms"]:
        edit = give_dose(mapping, arm, convert(moment, "h"), *found.groups())
        if edit.mapping is None:
            raise InputError(f"--give: {'; '.join(edit.mistakes.values())}")
        mapping = edit.mapping
    return mapping


@click.command(short_help="Print the four random words of an address.")
@click.argument("key")
@click.argument("counter")
def rng(key: str, counter: str) -> None:
    """Print the Philox4x32-10 words of KEY and COUNTER, in hexadecimal.

    KEY is below 2**64 (its low 32 bits are the first key word), COUNTER below 2**128 (its low 32 bits are the first counter
    word); decimal, or hexadecimal after 0x. A run of seed S uses KEY = words(key 0x655f73696e696368, counter S), first word
    high, second low; a draw uses COUNTER = identity + 2**64 step + 2**96 stream, a negative step modulo 2**32.
    """
    import numpy as np

    from niche_sim.draws import philox

    def read(text: str, name: str, bits: int) -> list[np.uint64]:
        try:
            number = int(text, 0)
        except ValueError:
            number = -1
        if not 0 <= number < 2**bits:
            raise InputError(f"{name}: expected a whole number from 0 to 2**{bits} - 1, not '{text}'")
        return [np.uint64(number >> shift & 0xFFFFFFFF) for shift in range(0, bits, 32)]

    words = philox(*read(counter, "COUNTER", 128), *read(key, "KEY", 64))
    click.echo(" ".join(f"{int(word):08x}" for word in words))
