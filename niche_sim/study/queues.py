"""Dask workers that are jobs of a cluster's queue: asked for, told of when they cannot start, asked for again when they end.

dask-jobqueue writes the script of a job and submits it. It does not say that a queue refused a job or that one ended before
its workers came, nor does it ask again when a job comes to its walltime; so we look after the jobs ourselves.
"""

import asyncio
import inspect
import itertools
import logging
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from niche_sim.errors import InputError, ResourceError
from niche_sim.study.clusters import (
    ONE_THREAD,
    Say,
    import_distributed,
    install_hint,
    make_certificate,
    open_scratch,
    serve_page,
    use_config,
)
from niche_sim.study.work import TRIES

if TYPE_CHECKING:
    from distributed import Client, Security

SYSTEMS = {
    "slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster", "lsf": "LSFCluster", "oar": "OARCluster",
    "moab": "MoabCluster", "htcondor": "HTCondorCluster",
}  # fmt: skip
"""Queues, and what dask-jobqueue calls them."""

LOOK_EVERY_S = 10.0
LIST_EVERY_S = 30.0
GONE_S = 60.0  # a nanny starts a new worker in place of a dead one within seconds
_LONGEST_WAIT_S = 600.0
_MARK = "WHERE_A_JOB_LEAVES_ITS_EXIT_CODE"
_WHOLE, _LISTS = ("cores", "job_cpu"), ("job_extra_directives", "job_script_prologue", "job_directives_skip")
_NEEDED = {"cores": "processors of a job", "memory": "of a job, e.g. 32GB", "interface": "network of the nodes, e.g. ib0"}
_OURS = {  # options of dask-jobqueue that are ours to choose, or have a newer name
    "self", "base_class_kwargs", "scheduler", "name", "processes", "nanny", "protocol", "security", "extra",
    "worker_command", "worker_extra_args", "job_extra", "env_extra", "header_skip", "config_name", "project",
}  # fmt: skip


@dataclass
class QueuedWorkers:
    """Workers that the queue of a cluster starts as its jobs; the scheduler is here.

    Attributes
    ----------
    system : str
        One of SYSTEMS.
    workers : int
        In all; a job has as many as `cores`.
    options : mapping of str to str or list of str
        Of dask-jobqueue: cores, memory, walltime, queue, account, interface, job_script_prologue ...
    allow_remote : bool
        Must be set: the scheduler has a port on the network of `interface`. Its TLS certificate is made for this study;
        nodes find it in the folder `shared_temp_directory`, in files that only their owner can read.
    dashboard : bool
    """

    system: str
    workers: int
    options: Mapping[str, str | list[str]] = field(default_factory=dict)
    allow_remote: bool = False
    dashboard: bool = False
    _jobs: "_Jobs | None" = field(default=None, init=False, repr=False, compare=False)

    @contextmanager
    def connect(self, say: Say) -> Iterator["Client"]:
        """See Place."""
        distributed = import_distributed()
        with self._open() as cluster:
            command = cluster.job_cls.submit_command.split()[0]
            if shutil.which(command) is None:
                raise InputError(f"--executor {self.system}: there is no {command} here; run this where jobs are submitted")
            self._jobs = jobs = _Jobs(self.system, cluster, self.workers, say)
            with jobs.kept():
                say(f"asked {self.system} for {self.workers} workers; each begins when it is there")
                if self.dashboard:
                    say(f"dashboard: {cluster.dashboard_link}")
                with distributed.Client(cluster, set_as_default=False) as client:
                    yield client

    def check(self, without_s: float) -> None:
        """See Place; a queue may take its time, but not if its jobs end before a worker comes."""
        if self._jobs is not None:
            self._jobs.check()

    def write_job(self) -> str:
        """Return the script of one job, without submitting it."""
        with self._open() as cluster:
            return str(cluster.job_script())

    @contextmanager
    def _open(self) -> Iterator[Any]:
        """Start the scheduler and yield the cluster, without jobs yet."""
        if not self.allow_remote:
            raise InputError(
                f"--executor {self.system}: its workers are on other machines, so the scheduler needs a port on their "
                "network (TLS, with a certificate made for this study): add --allow-remote"
            )
        import_distributed()
        dask_jobqueue = _import_jobqueue(self.system)
        kind = getattr(dask_jobqueue, SYSTEMS[self.system])
        given = _read_options(self.system, kind.job_cls, self.options)
        root, page = _find_root(given.pop("shared_temp_directory", "~/.niche_sim")), serve_page(self.dashboard)
        with use_config(self.dashboard), open_scratch(root) as folder:
            prologue = [
                f"[ -e {folder}/lock ] || exit 0",  # whom it would work for is gone
                f"trap 'code=$?; [ -e {folder}/lock ] && echo $code > {_MARK}' EXIT",
                *(f"export {name}=1" for name in ONE_THREAD), *given.pop("job_script_prologue", []),
            ]  # fmt: skip
            try:
                cluster = kind(
                    processes=given["cores"], security=_write_certificate(Path(folder)), scheduler_options=page,
                    worker_extra_args=["--no-dashboard", "--dashboard-address", "127.0.0.1:0"],  # none on the network
                    job_script_prologue=prologue, silence_logs=logging.CRITICAL,
                    job_cls=_make_job(kind.job_cls, Path(folder)), **given,
                )  # fmt: skip
            except (ValueError, TypeError, OSError, RuntimeError) as error:
                raise InputError(f"--executor {self.system}: {error}") from error
            with cluster:
                yield cluster


def _import_jobqueue(system: str) -> Any:
    """Return dask-jobqueue, which changes on import what Ctrl-C does: it would end a study as if that were finished."""
    held = signal.getsignal(signal.SIGINT)
    try:
        import dask_jobqueue
    except ImportError as error:
        raise InputError(f"--executor {system}: {install_hint('jobqueue')}") from error
    if held is not None and signal.getsignal(signal.SIGINT) is not held:
        signal.signal(signal.SIGINT, held)
    return dask_jobqueue


def _find_root(text: str) -> Path:
    """Return the folder that nodes share, made if it is not there."""
    root = Path(text).expanduser().absolute()
    where = f"--job shared_temp_directory={root}"
    if shlex.quote(str(root)) != str(root):
        raise InputError(f"{where}: jobs have it in their script: name one of letters, digits and any of _ - . / alone")
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=root).close()
    except OSError as error:
        raise InputError(f"{where}: {error.strerror or error}; name another") from error
    return root


def _write_certificate(folder: Path) -> "Security":
    """Return a certificate made for this study, in files that nodes can read, and of users only their owner."""
    from distributed import Security

    files = {}
    for name, content in make_certificate().get_tls_config_for_role("worker").items():
        if name in ("ca_file", "cert", "key"):
            files[name] = str(folder / f"{name}.pem")
            with open(files[name], "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                file.write(content)
    pairs = {f"tls_{role}_{name}": files[name] for role in ("scheduler", "worker", "client") for name in ("cert", "key")}
    return Security(require_encryption=True, tls_ca_file=files["ca_file"], **pairs)


def _make_job(kind: Any, folder: Path) -> Any:
    """Return a kind of job that keeps why a queue refused it, and whose script leaves its exit code in `folder`."""
    from distributed.core import Status

    numbers = itertools.count()

    class Job(kind):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.refusal, self.mark = "", folder / f"{next(numbers)}.ended"
            self.last_seen: float | None = None

        async def start(self) -> None:
            try:
                await super().start()
            except (RuntimeError, ValueError, OSError) as error:  # dask-jobqueue would lose it in a task of its own
                self.refusal, self.status = _shorten(str(error)), Status.running

        def job_script(self) -> str:
            return str(super().job_script()).replace(_MARK, str(self.mark))

    return Job


def _shorten(error: str) -> str:
    """Return what the command that submits a job said, of what dask-jobqueue makes of it."""
    said = error.rpartition("stderr:")[2].strip() or error
    return "; ".join(line.strip() for line in said.splitlines() if line.strip())


class _Jobs:
    """The jobs of a study, as many as it needs.

    Parameters
    ----------
    system : str
        One of SYSTEMS.
    cluster : dask_jobqueue.JobQueueCluster
    workers : int
        How many there should be.
    say : callable
        Takes lines for the user.
    """

    def __init__(self, system: str, cluster: Any, workers: int, say: Say) -> None:
        self.system, self.cluster, self.workers, self.say = system, cluster, workers, say
        self.wanted, self.fruitless, self.trouble, self.refusal = 0, 0, "", ""
        self.wait_s, self.ask_at, self.without_since, self.told_at = LOOK_EVERY_S, 0.0, time.monotonic(), 0.0
        self.listed_at = time.monotonic()
        self._keeping: Future[None] | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Ask for the jobs, and look after them in a block.

        Raises
        ------
        InputError
            The queue refuses all of them.
        """
        self.cluster.sync(self._ask)
        self.wanted = len(self.cluster.worker_spec)
        if not self.cluster.workers:
            raise InputError(f"--executor {self.system}: it refuses the job: {self.refusal}; --print-job shows its script")
        self._keeping = asyncio.run_coroutine_threadsafe(self._keep(), self.cluster.loop.asyncio_loop)
        try:
            yield
        finally:
            self._keeping.cancel()

    def check(self) -> None:
        """Refuse to wait for jobs that end before their workers come."""
        if self.trouble:
            raise ResourceError(self.trouble)
        if self._keeping is not None and self._keeping.done():
            self._keeping.result()  # what went wrong in there

    async def _keep(self) -> None:
        while not self.trouble:
            await asyncio.sleep(LOOK_EVERY_S)
            await self._look(time.monotonic())

    async def _look(self, now: float) -> None:
        """Let go of the jobs that ended, and ask for others."""
        await self._find_cancelled(now)
        before, alive = self.fruitless, {worker.name for worker in self.cluster.scheduler.workers.values()}
        for name, job in list(self.cluster.workers.items()):
            names = {f"{name}{suffix}" for suffix in self.cluster.worker_spec[name].get("group", [""])}
            if names & alive:
                job.last_seen = now
            elif self._find_end(job) or (job.last_seen is not None and now - job.last_seen > GONE_S):
                await job.close()
                self.cluster.workers.pop(name, None)
        if alive:
            self.fruitless, self.wait_s, self.without_since = 0, LOOK_EVERY_S, now
        elif self.fruitless > before:
            self._wait_longer(now)
        elif now - max(self.without_since, self.told_at) > _LONGEST_WAIT_S:
            self.told_at, ids = now, [str(job.job_id) for job in self.cluster.workers.values()]
            waiting = f"; {self.system} has yet to start job {', '.join(ids[:5])}{' ...' if ids[5:] else ''}" if ids else ""
            self.say(f"no worker for {(now - self.without_since) / 60.0:.0f} min{waiting}")
        lost = self.wanted - len(self.cluster.workers)
        if lost and now >= self.ask_at and not self.trouble:
            self.say(f"{lost} of {self.wanted} jobs ended; asking {self.system} again")
            known = self.refusal
            if await self._ask() and self.refusal != known:
                self.say(f"{self.system} refuses a job: {self.refusal}; what runs goes on")

    def _find_end(self, job: Any) -> bool:
        """Tell whether a job said that it ended; one that did before a worker came is counted."""
        try:
            code = job.mark.read_text().strip()
        except FileNotFoundError:
            return False
        job.mark.unlink(missing_ok=True)
        if job.last_seen is None:
            self.fruitless += 1
            if self.fruitless >= TRIES * self.wanted:
                self.trouble = (
                    f"{self.fruitless} jobs of {self.system} ended before a worker came, the last (job {job.job_id}) with "
                    f"exit code {code}: read what it wrote, and see its script with --print-job; what is done is kept"
                )
        return True

    async def _find_cancelled(self, now: float) -> None:
        """Mark what the queue no longer has of the jobs that have not begun: those leave no exit code. Of SLURM alone."""
        waiting = {str(job.job_id): job for job in self.cluster.workers.values() if job.last_seen is None}
        if self.system != "slurm" or not waiting or now - self.listed_at < LIST_EVERY_S:
            return
        self.listed_at = now
        words = ["squeue", "--noheader", "--format=%i", f"--user={os.getuid()}"]
        try:
            asked = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, timeout=LIST_EVERY_S)
        except (OSError, subprocess.TimeoutExpired):
            return
        if asked.returncode == 0:
            for number in waiting.keys() - set(asked.stdout.split()):
                if not waiting[number].mark.exists():
                    waiting[number].mark.write_text("unknown")

    async def _ask(self) -> bool:
        """Ask for what is missing; tell whether some was refused, and keep why."""
        self.cluster.scale(self.workers)
        await self.cluster
        refused = [(name, job.refusal) for name, job in self.cluster.workers.items() if job.refusal]
        for name, said in refused:
            del self.cluster.workers[name]
            self.refusal = said
        if refused:
            self._wait_longer(time.monotonic())
        return bool(refused)

    def _wait_longer(self, now: float) -> None:
        """Ask again only after a while, which doubles: a queue is not to be pestered."""
        self.wait_s = min(2.0 * self.wait_s, _LONGEST_WAIT_S)
        self.ask_at = now + self.wait_s


def _read_options(system: str, job: Any, options: Mapping[str, str | list[str]]) -> dict[str, Any]:
    """Return the options of a queue with their types; what must be there may be in the site's own Dask configuration."""
    from dask import config
    from dask_jobqueue.core import Job

    known = {name for kind in (job, Job) for name in inspect.signature(kind.__init__).parameters}
    known = (known | {"shared_temp_directory"}) - _OURS
    given: dict[str, Any] = {}
    for name, value in options.items():
        if name not in known:
            raise InputError(f"--job {name}: {system} has no such option; it has {', '.join(sorted(known))}")
        values = [value] if isinstance(value, str) else value
        if name in _LISTS:
            given[name] = values
            continue
        if len(values) != 1:
            raise InputError(f"--job {name}: is given {len(values)} times")
        if name in _WHOLE and not (values[0].isdecimal() and int(values[0])):
            raise InputError(f"--job {name}={values[0]}: expected a whole number above 0")
        given[name] = int(values[0]) if name in _WHOLE else values[0]
    for name, meaning in _NEEDED.items():
        given.setdefault(name, config.get(f"jobqueue.{system}.{name}", None))
        if given[name] is None:
            raise InputError(f"--executor {system}: --job {name}=... is missing: {meaning}")
    return given
