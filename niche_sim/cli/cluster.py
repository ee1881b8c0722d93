"""The options of a study that runs on Dask: workers here, of a scheduler that is there, or of the queue of a cluster."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from niche_sim.errors import InputError

if TYPE_CHECKING:
    from niche_sim.study.clusters import Place
    from niche_sim.study.execute import Executor

QUEUES = ("slurm", "pbs", "sge", "lsf", "oar", "moab", "htcondor")
EXECUTORS = ("processes", "threads", "serial", "dask", *QUEUES)
_FILE = click.Path(path_type=Path)
_OPTIONS = (
    click.option("--scheduler", metavar="ADDRESS", help="With dask: one that runs, e.g. tcp://127.0.0.1:8786."),
    click.option("--allow-remote", is_flag=True, help="Let Dask talk to other machines; TLS is needed all the same."),
    click.option("--tls-ca", type=_FILE, help="PEM file of who signed the certificate of a tls:// scheduler."),
    click.option("--tls-cert", type=_FILE, help="PEM file of our certificate."),
    click.option("--tls-key", type=_FILE, help="PEM file of its key."),
    click.option("--worker-memory", metavar="SIZE", help="Most that a worker of dask takes, e.g. 2GB.  [default: a share]"),
    click.option("--dashboard", is_flag=True, help="Serve Dask's page on 127.0.0.1."),
    click.option("--job", multiple=True, metavar="NAME=VALUE", help="Of the jobs of a queue, e.g. cores=16; repeatable."),
    click.option("--print-job", is_flag=True, help="Print the script of a job and submit nothing."),
)


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that `choose_place` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def open_executor(kind: str, jobs: int, quiet: bool, **options: Any) -> "Executor | None":
    """Return the executor of a name, or None if its job was only to be printed, which is done.

    Raises
    ------
    InputError
        Options do not go together.
    """
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value]
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


def choose_place(kind: str, jobs: int, given: list[str], options: dict[str, Any]) -> "Place":
    """Return where workers come from.

    Raises
    ------
    InputError
        An option does not belong there.
    """
    from niche_sim.study.clusters import LocalWorkers, QueuedWorkers, RunningScheduler

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
