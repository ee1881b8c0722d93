"""`niche-sim run`: simulate, write the result, draw it, say what happened."""

import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from niche_sim.errors import InputError, Interrupted, ResourceError
from niche_sim.plan import count_processors

if TYPE_CHECKING:
    from niche_sim.progress import ProgressReport

ENGINE_THREAD = "niche_sim engine"
GRACE_S = 4.5
_MOST_THREADS = 1024
_STACK_BYTES = 64 << 20  # the compiler recurses deeply; some systems give threads half a megabyte


def run_aside(work: Callable[[], Any], stop: Callable[[], None]) -> Any:
    """Run `work` in a thread of its own and return its result, so that a signal finds this thread waiting.

    An interrupt that lands inside the compiler's callbacks is swallowed there and breaks it; the main thread
    is therefore kept out of it. On Ctrl-C or SIGTERM `stop` is called and the thread is given GRACE_S to end.
    """
    outcome: Future[Any] = Future()
    ended = threading.Event()  # not Thread.join: interrupted, it takes a running thread for a dead one

    def target() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)
        finally:
            ended.set()

    before = threading.stack_size(_STACK_BYTES)
    thread = threading.Thread(target=target, name=ENGINE_THREAD, daemon=True)
    thread.start()
    threading.stack_size(before)
    try:
        while not ended.wait(0.1):
            pass
    except KeyboardInterrupt:
        stop()
        ended.wait(GRACE_S)
        raise
    return outcome.result()


@click.command(short_help="Run an experiment and write its results.")
@click.argument("experiment")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to create.  [default: results/NAME]")
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), help="Replace the seed of the experiment.")
@click.option(
    "--threads", type=click.IntRange(1, _MOST_THREADS),
    help="Arms run side by side.  [default: the processors at hand]",
)  # fmt: skip
@click.option("--length", help='Replace the simulated time, e.g. "90 d" or "2 yr".')
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Replace one value; repeatable.")
@click.option("--checkpoint-every", metavar="TIME", help='Keep a checkpoint after each such time, e.g. "30 d".')
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--no-figures", is_flag=True, help="Skip figures and report; `plot` and `report` make them.")
def run(
    experiment: str, out: Path | None, seed: int | None, threads: int | None, length: str | None,
    settings: tuple[str, ...], checkpoint_every: str | None, quiet: bool, no_figures: bool,
) -> None:  # fmt: skip
    """Run EXPERIMENT, all its arms, and write a results folder. A file with `model:` is a sub-model that runs alone.

    The folder appears only when the run is complete; a folder that exists and is not empty is refused before
    anything is computed. The same seed gives the same results on any number of threads. A run that is stopped
    (Ctrl-C, SIGTERM) keeps what it has in OUT.unfinished, and one with --checkpoint-every survives being killed:
    `niche-sim resume OUT` goes on, to the same results.

    \b
    Examples:
      niche-sim run e00_zoledronate_niche
      niche-sim run e00_zoledronate_niche --length "90 d" --out results/short
      niche-sim run my.yaml --seed 7 --set "dormancy.exit_rate=1e-4 /d" --set population.dormant_dtc=12
    """
    from niche_sim.config import load_experiment
    from niche_sim.progress import ProgressReport
    from niche_sim.submodels.finding import find_submodel

    submodel = find_submodel(experiment)
    if submodel is not None:
        _run_submodel(submodel, out, settings, seed, length, quiet)
        return
    loaded = load_experiment(experiment, sets=settings, seed=seed, length=length)
    target = out if out is not None else Path("results") / loaded.name
    every = read_interval(checkpoint_every, loaded)
    with ProgressReport(quiet=quiet) as progress:
        simulate(loaded, target, threads or count_processors(), progress, every=every, figures=not no_figures)
        if not no_figures:
            draw(target, progress)
    if not quiet:
        click.echo("\n".join(summarise(target)))


def _run_submodel(
    path: Path, out: Path | None, settings: tuple[str, ...], seed: int | None, length: str | None, quiet: bool
) -> None:
    from niche_sim.submodels.running import run_submodel

    target = out if out is not None else Path("results") / path.stem
    lines = run_aside(partial(run_submodel, path, target, settings, seed, length, lambda fraction: None), lambda: None)
    if not quiet:
        click.echo("\n".join(lines))


def read_interval(text: str | None, experiment: Any) -> int | None:
    """Return the ticks between checkpoints, at least one."""
    from niche_sim.units import convert

    if text is None:
        return None
    try:
        hours = convert(text, "h")
    except InputError as error:
        raise InputError(f"--checkpoint-every: {error}") from None
    if not 0 < hours < math.inf:
        raise InputError(f"--checkpoint-every: expected a time above 0 such as '30 d', not '{text}'")
    return max(1, round(hours / experiment.tick_h))


def simulate(
    experiment: Any, target: Path, threads: int, progress: "ProgressReport", *, every: int | None, figures: bool = True,
    resuming: bool = False,
) -> None:  # fmt: skip
    """Run an experiment into a results folder, from its checkpoints if it is being resumed.

    Raises
    ------
    ResourceError
        It does not fit into the memory.
    Interrupted
        Stopped from outside; what was done is kept beside the folder.
    """
    from niche_sim.store import reserve, write_result
    from niche_sim.store.writing import encode_configuration

    started = datetime.now(UTC)
    with reserve(target) as place:
        # Imported only now: a folder that cannot be used must be refused at once.
        from niche_sim.plan import check_memory
        from niche_sim.simulation import run_experiment
        from niche_sim.store.checkpoints import Checkpoints

        check_memory(experiment, threads)
        keeper = Checkpoints(place.target, encode_configuration(experiment), every, progress.say, figures)
        if keeper.folder.exists() and not resuming:
            raise InputError(f"{keeper.folder}: holds a stopped run; `niche-sim resume {target}` goes on, or remove it")
        if every:
            keeper.begin()
        work = partial(run_experiment, experiment, threads=threads, progress=progress, keeper=keeper)
        try:
            finished = run_aside(work, progress.stop)
        except (KeyboardInterrupt, Interrupted):
            kept = f"`niche-sim resume {target}` goes on" if keeper.exists else "nothing unfinished was kept"
            raise Interrupted(f"stopped; {kept}") from None
        progress.say("writing the results")
        ended = datetime.now(UTC)
        write_result(target, finished, experiment, threads=threads, started=started, ended=ended, place=place)
        keeper.remove()


def draw(target: Path, progress: "ProgressReport") -> None:
    """Draw the figures and the report of a finished run."""
    from niche_sim.view.figures import draw_figures
    from niche_sim.view.report import write_report

    progress.say("drawing the figures and the report")
    try:
        draw_figures(target)
        write_report(target)
    except ResourceError as error:
        remedy = f"the results in {target} are complete; make room, then `niche-sim plot` and `niche-sim report` draw them"
        raise ResourceError(f"{error}\n{remedy}") from error


def summarise(target: Path) -> list[str]:
    """Return what happened in a finished run, in lines."""
    from niche_sim.store import load
    from niche_sim.view.report import summary_lines

    result = load(target)
    counts = result.manifest["sources"]["counts"]
    total = sum(counts.values())
    lines = list(summary_lines(result))
    lines += ["", f"parameters: {counts.get('assumed', 0)} of {total} are assumed (see `niche-sim sources`)"]
    lines += [f"results:    {target}"]
    if (target / "report.html").exists():
        lines += [f"report:     {target / 'report.html'}"]
    return lines
