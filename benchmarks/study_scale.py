"""A study of 100,000 short runs: is memory flat, and how much of the workers' time is not work?

    python benchmarks/study_scale.py [--runs 100000] [--executor processes|dask] [--workers 4]

A run is a day of a niche of 1,600 voxels, some 20 ms; every run has a state at time 0 of its own. Every second the memory
(resident) of the driver and of its largest worker is read. Workers note when each batch began and ended: what is not work is
the time between batches, as a share of the time of all workers from the first batch to the last.
"""

import argparse
import hashlib
import os
import platform
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line and the workers have it

import pandas as pd
import psutil

from niche_sim.study import running
from niche_sim.study.clusters import LocalWorkers
from niche_sim.study.dask_executor import DaskExecutor
from niche_sim.study.execute import Executor, Processes
from niche_sim.study.gate import load_study
from niche_sim.study.spec import Study
from niche_sim.study.work import Task, make_work, warm_engine

STUDY = """\
name: many_short_runs
experiment:
  name: short
  seed: 1
  scene: trabecula_small
  patient: postmenopausal
  time: {{length: "1 d", spin_up: "0 d"}}
  population: {{dormant_dtc: 8}}
  arms: {{control: {{}}}}
design: {{kind: latin_hypercube, points: {runs}, seed: 1}}
factors: {{dormancy.exit_rate: {{}}, osteoclasts.erosion_rate: {{}}}}
"""
MB = 1 << 20


class Noted:
    """The work of a study that notes when it began and ended."""

    def __init__(self, study: Study, folder: str) -> None:
        self.work, self.folder = make_work(study), folder

    def __call__(self, task: Task) -> pd.DataFrame:
        """Return the rows of a batch."""
        began = time.time()
        rows = self.work(task)
        with (Path(self.folder) / str(os.getpid())).open("a") as file:
            file.write(f"{began} {time.time()}\n")
        return rows


def measure_idle(folder: Path) -> tuple[int, float]:
    """Return how many workers there were, and the share of their time from first to last batch that was not work."""
    times = [[tuple(map(float, line.split())) for line in path.read_text().splitlines()] for path in folder.iterdir()]
    spans = [(notes[0][0], notes[-1][1]) for notes in times]
    busy = sum(end - began for notes in times for began, end in notes)
    return len(times), 1.0 - busy / sum(end - began for began, end in spans)


class Watch(threading.Thread):
    """Reads every second: files written, memory of the driver and of its largest worker (MB)."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.runs, self.driver, self.end = folder / "runs", psutil.Process(), threading.Event()
        self.rows: list[tuple[float, int, float, float]] = []

    def run(self) -> None:
        """See Thread."""
        while not self.end.wait(1.0):
            held = [0.0]
            for child in self.driver.children(recursive=True):
                with suppress(psutil.Error):
                    held.append(child.memory_info().rss / MB)
            written = len(os.listdir(self.runs)) if self.runs.is_dir() else 0
            self.rows.append((time.perf_counter(), written, self.driver.memory_info().rss / MB, max(held)))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--executor", choices=("processes", "dask"), default="processes")
    parser.add_argument("--workers", type=int, default=4)
    given = parser.parse_args()
    warm_engine()
    executor: Executor = Processes(given.workers)
    if given.executor == "dask":
        executor = DaskExecutor(LocalWorkers(given.workers))
    with tempfile.TemporaryDirectory() as place:
        file, folder, notes = Path(place) / "study.yaml", Path(place) / "results", Path(place) / "notes"
        file.write_text(STUDY.format(runs=given.runs))
        notes.mkdir()
        running.make_work = lambda study: Noted(study, str(notes))  # type: ignore[assignment, return-value]
        watch = Watch(folder)
        watch.start()
        began = time.perf_counter()
        status = running.run_study(load_study(file), folder, executor)
        wall = time.perf_counter() - began
        watch.end.set()
        watch.join()
        digest = hashlib.sha256()
        for path in sorted((folder / "runs").iterdir()):
            digest.update(path.read_bytes())
        workers, idle = measure_idle(notes)
        print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
        print(f"{given.executor}, {workers} workers: {status.done:,} runs done, {status.failed} failed, in {wall:.0f} s")
        print(f"SHA-256 of all files {digest.hexdigest()[:16]}; {100 * idle:.2f} % of the workers' time is not work")
    print(f"{'done':>6}{'s':>7}{'driver MB':>11}{'largest worker MB':>19}")
    for share in (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0):
        now, _, driver, worker = next((row for row in watch.rows if row[1] >= share * status.batches), watch.rows[-1])
        print(f"{100 * share:>5.0f}%{now - began:>7.0f}{driver:>11.0f}{worker:>19.0f}")


if __name__ == "__main__":
    main()
