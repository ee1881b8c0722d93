"""Run a study: what is missing from its folder goes to an executor, and what comes back into the folder."""

import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from types import TracebackType

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from niche_sim.errors import InputError, Interrupted, ResourceError
from niche_sim.kernel import is_compiled
from niche_sim.plan import count_processors, find_memory, write_size
from niche_sim.study.clusters import LocalWorkers
from niche_sim.study.design import build_design
from niche_sim.study.execute import Executor, Processes, Serial, Threads, Work
from niche_sim.study.runs import Points, forecast_memory, iterate_runs, list_batches, survey_points
from niche_sim.study.spec import Batch, Study
from niche_sim.study.store import Status, StudyFolder, begin_folder, encode_batch, find_folder, lock_folder, open_folder
from niche_sim.study.work import FAILED, Task, fail_batch, make_task, make_work

LINE_EVERY_S = 30.0
SILENT_MIN = 5.0  # after which a user is told that nothing has come back


def run_study(
    study: Study, directory: str | os.PathLike[str], executor: Executor | None = None, *, limit: int | None = None,
    retry_failed: bool = False, quiet: bool = True,
) -> Status:  # fmt: skip
    """Run a study into a folder, or what is missing of it if the folder holds a part.

    Parameters
    ----------
    study : Study
    directory : path
        Made if it is not there.
    executor : Executor, optional
        Who runs the batches; the results do not depend on it. By default `Processes`, as many as there are processors.
    limit : int, optional
        Stop after so many batches.
    retry_failed : bool
        Run batches in which runs failed once more.
    quiet : bool
        Show no progress.

    Returns
    -------
    Status

    Raises
    ------
    InputError
        The folder is of something else, of another study or of other versions, or is being driven; a scheduler cannot be
        used, or has other versions. No folder has been made then.
    ResourceError
        The disk is full, or workers cannot be started. What was written stays.
    """
    directory, executor = Path(directory), executor or Processes(count_processors(), alone_first=not is_compiled())
    begun, design = find_folder(directory, study), build_design(study)
    # All points pass the gate before anything is made; those of a folder that is there have done so.
    say = Console(stderr=True, quiet=quiet, highlight=False).print
    points = None if begun else survey_points(study, design, say)
    batches: Iterable[Batch] = list_batches(study, design, points)
    if points is not None:
        batches = list(batches)
        _check_memory(study, design, points, executor, len(batches))
    with _open(executor), lock_folder(directory) as check:
        folder = begin_folder(directory, study, design, batches, iterate_runs(study, design, points))
        del points, batches  # a driver may live for days
        study = folder.load_study() if study.image else study  # workers read the image in the folder
        _drive(folder, study, design, executor, limit, retry_failed, quiet, check)
    return folder.status()


def _open(executor: Executor) -> AbstractContextManager[None]:
    """Have an executor connect, if it has to: one that cannot is refused before a folder is made."""
    connect: Callable[[], AbstractContextManager[None]] = getattr(executor, "open", nullcontext)
    return connect()


def _check_memory(study: Study, design: pd.DataFrame, points: Points, executor: Executor, batches: int) -> None:
    """Refuse what does not fit into the memory of this machine: the driver, and workers that are here."""
    jobs, together = _count_here(executor)
    jobs = min(jobs, batches)
    each = forecast_memory(study, design, jobs, points, together=together)
    need, there = each["driver"] + jobs * each["worker"], find_memory()
    if need > there:
        raise ResourceError(
            f"{study.name}: {jobs} runs side by side need about {write_size(need)} of memory, {write_size(there)} are free; "
            "use fewer --jobs, a smaller scene or fewer points"
        )


def _count_here(executor: Executor) -> tuple[int, bool]:
    """Return how many runs an executor has side by side on this machine, and whether they are in this process."""
    if isinstance(executor, Processes):
        return executor.jobs, False
    if isinstance(executor, (Threads, Serial)):
        return getattr(executor, "jobs", 1), True
    place = getattr(executor, "place", None)
    return (place.workers if isinstance(place, LocalWorkers) else 0), False


def resume_study(
    directory: Path, executor: Executor, *, limit: int | None = None, retry_failed: bool = False, quiet: bool = True
) -> Status:
    """Run what is missing of the study in a folder; see `run_study`."""
    folder = open_folder(directory)
    folder.check_versions()
    study, design = folder.load_study(), folder.load_design()
    with _open(executor), lock_folder(directory) as check:
        _drive(folder, study, design, executor, limit, retry_failed, quiet, check)
    return folder.status()


def _drive(
    folder: StudyFolder, study: Study, design: pd.DataFrame, executor: Executor, limit: int | None, retry_failed: bool,
    quiet: bool, check: Callable[[], None],
) -> None:  # fmt: skip
    missing = {b.number: len(b.runs) for b in islice(folder.missing(folder.list_batches(), retry_failed), limit)}
    work, before = make_work(study), folder.status()
    tasks = (make_task(batch, design) for batch in folder.list_batches() if batch.number in missing)
    with StudyProgress(study.name, sum(missing.values()), quiet) as progress:
        progress.say(f"{sum(missing.values()):,} of {before.planned:,} runs to do")
        for task, frame in _run_all(executor, study, work, tasks):
            check()
            folder.write_batch(task, encode_batch(study, frame))
            progress.advance(len(frame), int((frame["status"] == FAILED).sum()))


def _run_all(executor: Executor, study: Study, work: Work, tasks: Iterable[Task]) -> Iterator[tuple[Task, pd.DataFrame]]:
    """Yield the rows of every batch; one that takes its process down is run again one by one, so one run alone fails."""
    broken: dict[int, Task] = {}
    for task, outcome in _watch(executor, work, tasks):
        if isinstance(outcome, pd.DataFrame):
            yield task, outcome
        elif len(task.runs) == 1:
            yield task, fail_batch(study, task, outcome)
        else:
            broken[task.number] = task
    singles = (task._replace(runs=(run,)) for task in broken.values() for run in task.runs)
    rows: dict[int, dict[str, pd.DataFrame]] = {number: {} for number in broken}
    # They would share a number, by which executors count tries: so each has one of its own, and knows where it belongs.
    numbered = dict(enumerate(singles))
    renumbered = (single._replace(number=number) for number, single in numbered.items())
    for single, outcome in _watch(executor, work, renumbered) if numbered else ():
        frame = outcome if isinstance(outcome, pd.DataFrame) else fail_batch(study, single, outcome)
        number = numbered[single.number].number
        rows[number][single.runs[0].key] = frame
        if len(rows[number]) == len(broken[number].runs):
            found = rows.pop(number)
            yield broken[number], pd.concat([found[run.key] for run in broken[number].runs], ignore_index=True)


def _watch(executor: Executor, work: Work, tasks: Iterable[Task]) -> Iterator[tuple[Task, pd.DataFrame | Exception]]:
    outcomes = executor.run(work, tasks)
    try:
        for task, outcome in outcomes:
            if isinstance(outcome, (InputError, Interrupted)):  # of the worker or its executor, not of a run
                raise outcome
            yield task, outcome
    finally:
        if isinstance(outcomes, Generator):
            outcomes.close()  # now, and not when it is collected: it ends the workers


class StudyProgress:
    """What a waiting user sees: a bar on a terminal, a line every half minute elsewhere, nothing when quiet."""

    def __init__(self, name: str, total: int, quiet: bool, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._quiet, self._live = quiet, not quiet and self._console.is_terminal
        self._total, self._done, self._failed = total, 0, 0
        self._began = self._said = self._last = time.monotonic()
        self._over = threading.Event()
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=32), TextColumn("{task.fields[told]}"),
            console=self._console, disable=not self._live,
        )  # fmt: skip
        self._task = self._bar.add_task(name, total=total, told=f"{total:,} runs")

    def __enter__(self) -> "StudyProgress":
        self._bar.start()
        if not self._live and not self._quiet:
            threading.Thread(target=self._remind, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._bar.stop()

    def _remind(self) -> None:
        """Say every half minute how far it is, also when nothing comes back; no other thread says so."""
        while not self._over.wait(LINE_EVERY_S / 10.0):
            now = time.monotonic()
            if now - self._said >= LINE_EVERY_S:
                self._said = now
                silent = (now - self._last) / 60.0
                since = f"; nothing has come back for {silent:.0f} min" if silent >= SILENT_MIN else ""
                self.say(self._tell(now) + since)

    def _tell(self, now: float) -> str:
        rate = self._done / max(now - self._began, 1e-9) * 3600.0
        left = (self._total - self._done) / rate if rate else None
        return describe_progress(self._done, self._total, self._failed, rate, left)

    def say(self, text: str) -> None:
        """Show one line, unless quiet."""
        if not self._quiet:
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def advance(self, runs: int, failed: int) -> None:
        """Take so many more runs, of which some failed."""
        self._done, self._failed, now = self._done + runs, self._failed + failed, time.monotonic()
        self._last, told = now, self._tell(now)
        self._bar.update(self._task, completed=self._done, told=told)
        if not self._live and self._done == self._total:
            self._said = now
            self.say(told)


def describe_progress(done: int, total: int, failed: int, rate: float | None, hours_left: float | None) -> str:
    """Return how far a study is, in one line; `rate` is runs an hour."""
    told = f"{done:,} of {total:,} runs, {failed:,} failed"
    told += f", {rate:,.0f} an hour" if rate else ""
    return told + (f", {_write_hours(hours_left)} left" if hours_left else "")


def _write_hours(hours: float) -> str:
    if hours < 1.0 / 60.0:
        return f"{hours * 3600.0:.0f} s"
    if hours < 2.0:
        return f"{hours * 60.0:.0f} min"
    return f"{hours:.1f} h" if hours < 48.0 else f"{hours / 24.0:.1f} d"
