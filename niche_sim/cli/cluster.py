"""The options of who runs a study: processes here, or Dask's workers here, of a scheduler, or of the queue of a cluster."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from niche_sim.errors import InputError
from niche_sim.plan import count_processors

if TYPE_CHECKING:
    from niche_sim.study.clusters import Place
    from niche_sim.study.execute import Executor

QUEUES = ("slurm", "pbs", "sge", "lsf", "oar", "moab", "htcondor")
EXECUTORS = ("processes", "threads", "serial", "dask", *QUEUES)
_MOST_JOBS = 1024
_FILE = click.Path(path_type=Path)
_OPTIONS = (
    click.option("--jobs", "--workers", type=click.IntRange(1, _MOST_JOBS), metavar="N",
                 help="Batches of a study run side by side.  [default: the processors at hand]"),
    click.option("--executor", type=click.Choice(EXECUTORS), metavar="NAME",
                 help="Who runs them; the results are the same to the byte: processes, threads, serial; dask: its workers "
                 "here, or those of --scheduler; slurm, pbs, sge, lsf, oar, moab, htcondor: jobs of this queue "
                 "(docs/clusters.md).  [default: processes]"),
    click.option("--limit", type=click.IntRange(1), metavar="N", help="Stop after N batches; `resume` goes on."),
    click.option("--retry-failed", is_flag=True, help="Run again what failed before."),
    click.option("--scheduler", metavar="ADDRESS", help="With dask: one that runs, e.g. tcp://127.0.0.1:8786."),
    click.option("--allow-remote", is_flag=True, help="Let Dask talk to other machines; TLS is needed all the same."),
    click.option("--tls-ca", type=_FILE, help="PEM file of who signed the certificate of a tls:// scheduler."),
    click.option("--tls-cert", type=_FILE, help="PEM file of our certificate."),
    click.option("--tls-key", type=_FILE, help="PEM file of its key."),
    click.option("--worker-memory", metavar="SIZE", help="Most that a worker of dask takes, e.g. 2GB.  [default: a share]"),
    click.option("--dashboard", is_flag=True, help="Serve Dask's page on 127.0.0.1."),
    click.option("--job", multiple=True, metavar="NAME=VALUE", help="Of the jobs of a queue, e.g. cores=16; repeatable."),
    click.option("--print-job", is_flag=True, help="Print the script of a job and submit nothing."),
)  # fmt: skip


def study_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of who runs a study, and of what; those that are not given are None, false or empty."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def open_executor(kind: str | None, jobs: int | None, quiet: bool, **options: Any) -> "Executor | None":
    """Return the executor of a name, processes if it has none, or None if its job was only to be printed, which is done.

    Raises
    ------
    InputError
        Options do not go together.
    """
    kind, jobs, given = kind or "processes", jobs or count_processors(), list_given(options)
    if kind not in ("dask", *QUEUES):
        if given:
            raise InputError(f"{given[0]}: not with --executor {kind}; only with dask, {', '.join(QUEUES)}")
        from niche_sim.study.execute import choose_executor

        return choose_executor(kind, jobs)
    place = choose_place(kind, jobs, given, options)
    if options["print_job"]:
        click.echo(place.write_job(), nl=False)  # type: ignore[attr-defined]
        return None
    from niche_sim.kernel import is_compiled
    from niche_sim.study.dask_executor import DaskExecutor
    from niche_sim.study.work import warm_engine

    say = (lambda text: None) if quiet else (lambda text: click.echo(text, err=True))
    return DaskExecutor(place, None if is_compiled() else warm_engine, say)


def list_given(options: dict[str, Any]) -> list[str]:
    """Return those options that the user gave, as the command line has them."""
    return [f"--{name.replace('_', '-')}" for name, value in options.items() if value]


def choose_place(kind: str, jobs: int, given: list[str], options: dict[str, Any]) -> "Place":
    """Return where workers come from.

    Raises
    ------
    InputError
        An option does not belong there.
    """
    from niche_sim.study.clusters import LocalWorkers, RunningScheduler
    from niche_sim.study.queues import QueuedWorkers

    tls = {name: options[name] for name in ("tls_ca", "tls_cert", "tls_key")}
    if kind in QUEUES:
        _refuse(given, {"--allow-remote", "--dashboard", "--job", "--print-job"}, f"--executor {kind}")
        return QueuedWorkers(kind, jobs, _read_pairs(options["job"]), options["allow_remote"], options["dashboard"])
    if options["scheduler"]:
        _refuse(given, {"--scheduler", "--allow-remote", "--tls-ca", "--tls-cert", "--tls-key"}, "--scheduler")
        return RunningScheduler(options["scheduler"], options["allow_remote"], **tls)
    _refuse(given, {"--worker-memory", "--dashboard"}, "--executor dask without --scheduler")
    return LocalWorkers(jobs, options["worker_memory"] or "auto", options["dashboard"])


def _refuse(given: list[str], taken: set[str], where: str) -> None:
    odd = [name for name in given if name not in taken]
    if odd:
        raise InputError(f"{odd[0]}: not with {where}, which takes {', '.join(sorted(taken))}")


def _read_pairs(pairs: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise InputError(f"--job {pair}: expected NAME=VALUE, e.g. cores=16")
        found.setdefault(name, []).append(value)
    return found
