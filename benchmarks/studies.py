"""Threads against processes: `python benchmarks/studies.py [--runs 200] [--days 10] [--repeats 3]` prints runs a second.

Rounds of all executors follow each other, so that a busy machine slows all of them alike; the best round of each is told,
and the processor time of a run, which depends little on what else the machine does.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line and the workers have it

from niche_sim.study.execute import Executor, Processes, Serial, Threads
from niche_sim.study.running import run_study
from niche_sim.study.spec import Study, load_study
from niche_sim.study.work import warm_engine

STUDY = """\
name: short_runs
experiment:
  name: short
  seed: 1
  scene: trabecula_small
  patient: postmenopausal
  time: {{length: "{days} d", spin_up: "1 d"}}
  population: {{dormant_dtc: 8}}
  arms: {{control: {{}}}}
design: {{kind: latin_hypercube, points: {runs}, seed: 1}}
factors: {{dormancy.exit_rate: {{}}, osteoclasts.erosion_rate: {{}}}}
"""


def time_executor(study: Study, executor: Executor) -> tuple[float, float]:
    """Return seconds on the clock, and of processors, that a study takes."""
    folder = Path(tempfile.mkdtemp())
    clock, before = time.perf_counter(), sum(os.times()[:4])
    run_study(study, folder, executor)
    passed = time.perf_counter() - clock, sum(os.times()[:4]) - before
    shutil.rmtree(folder)
    return passed


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, usual in (("runs", 200), ("days", 10), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    asked = parser.parse_args()
    place = Path(tempfile.mkdtemp()) / "study.yaml"
    place.write_text(STUDY.format(days=asked.days, runs=asked.runs))
    study = load_study(place)
    warm_engine()
    executors = {
        "serial": Serial(), "threads 2": Threads(2), "processes 2": Processes(2), "threads 4": Threads(4),
        "processes 4": Processes(4),
    }  # fmt: skip
    rounds = [{name: time_executor(study, executor) for name, executor in executors.items()} for _ in range(asked.repeats)]
    print(f"{asked.runs} runs of {asked.days} d; load {os.getloadavg()[0]:.1f} of {os.cpu_count()} processors")
    for name in executors:
        clock, busy = (min(held[name][i] for held in rounds) for i in (0, 1))
        each = 1000 * busy / asked.runs
        print(f"{name:<12} {clock:6.1f} s  {asked.runs / clock:6.1f} runs/s  {each:6.0f} ms of processor a run")


if __name__ == "__main__":
    main()
