"""What it costs to hand out the runs of a study: the share of the workers' time that is not work.

A run here is a given time of work (20 ms: a short run of a tiny niche) and a row; a batch has as many as fill half a second,
as in a study. Work is waited for, not computed, so that a lack of processors does not count as scheduling.

    python benchmarks/study_scheduling.py [--runs 100000] [--run-ms 20] [--batch-s 0.5]

The share is 1 - runs x run / (workers x wall); wall begins with the first batch that comes back, so that starting processes,
a few seconds once a study, is not in it. With --run-ms 0 it is the time of a batch that counts: nothing else is done.
"""

import argparse
import os
import platform
import time
from collections.abc import Iterator

import pandas as pd

from niche_sim.study.clusters import LocalWorkers
from niche_sim.study.dask_executor import DaskExecutor
from niche_sim.study.execute import Executor, Processes
from niche_sim.study.spec import RunSpec
from niche_sim.study.work import Task


class Wait:
    """Work that takes a given time."""

    def __init__(self, run_s: float) -> None:
        self.run_s = run_s

    def __call__(self, task: Task) -> pd.DataFrame:
        """Return a row a run, after the time of their work."""
        time.sleep(self.run_s * len(task.runs))
        return pd.DataFrame({"key": [run.key for run in task.runs], "status": "done", "end": 1.0})


def prepare() -> None:
    """There is no engine to load."""


def make_tasks(number: int, size: int) -> Iterator[Task]:
    """Yield batches of so many runs each."""
    points = pd.DataFrame({"point": range(size), "factor": "1 d", "factor.value": 1.0})
    for first in range(0, number, size):
        specs = tuple(RunSpec(n, n, 0, "control", f"{n:064x}", f"{n:064x}") for n in range(first, min(first + size, number)))
        yield Task(first // size, specs, f"{first:06d}-0123456789abcdef", points)


def measure(executor: Executor, workers: int, number: int, size: int, run_s: float) -> tuple[float, float, float]:
    """Return the start (s), the wall time (s) after it, and the share of the workers' time that is not work."""
    began, first, rows = time.perf_counter(), 0.0, 0
    for _, outcome in executor.run(Wait(run_s), make_tasks(number, size)):
        assert isinstance(outcome, pd.DataFrame)
        if not first:
            first, skipped = time.perf_counter(), len(outcome)
        rows += len(outcome)
    last = time.perf_counter()
    assert rows == number
    # When the first batch comes back, those of the other workers are as good as done.
    work = (number - workers * skipped) * run_s
    return first - began - skipped * run_s, last - first, 1.0 - work / (workers * (last - first))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--run-ms", type=float, default=20.0)
    parser.add_argument("--batch-s", type=float, default=0.5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    given = parser.parse_args()
    run_s, size = given.run_ms / 1000.0, max(1, round(given.batch_s * 1000.0 / given.run_ms)) if given.run_ms else 25
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(f"{given.runs:,} runs of {given.run_ms:g} ms in batches of {size}")
    print(f"{'executor':<12}{'workers':>8}{'start s':>10}{'wall s':>10}{'ms a batch':>12}{'not work':>10}")
    for workers in given.workers:
        for name, executor in (("processes", Processes(workers, prepare)), ("dask", DaskExecutor(LocalWorkers(workers)))):
            start, wall, share = measure(executor, workers, given.runs, size, run_s)
            batch_ms = (wall * workers * share if run_s else wall) / (given.runs / size) * 1000.0
            print(f"{name:<12}{workers:>8}{start:>10.1f}{wall:>10.1f}{batch_ms:>12.2f}{100.0 * share:>9.1f}%", flush=True)


if __name__ == "__main__":
    main()
