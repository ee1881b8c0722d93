"""Threads against processes: `python benchmarks/studies.py [--runs 200] [--days 10] [--repeats 3]` prints runs a second.

Rounds of all executors follow each other, so that a busy machine slows all of them alike; the best round of each is told,
and the processor time of a run, which depends little on what else the machine does. With `--pinned` it compares four worker
processes with four plain loops over the same batches, each loop held to one processor, from the first batch that comes back
to the last: the ratio, round by round, of what four workers do to the sum of what the four loops do.
"""

import argparse
import multiprocessing
import os
import shutil
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line and the workers have it

from niche_sim.study.design import build_design
from niche_sim.study.execute import Executor, Processes, Serial, Threads
from niche_sim.study.gate import load_study
from niche_sim.study.running import run_study
from niche_sim.study.runs import list_batches
from niche_sim.study.spec import Study
from niche_sim.study.work import Task, make_task, make_work, run_batch, warm_engine

WORKERS = 4

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


def list_tasks(study: Study) -> list[Task]:
    """Return the batches of a study, ready to be run."""
    design = build_design(study)
    return [make_task(batch, design) for batch in list_batches(study, design)]


def time_workers(study: Study) -> float:
    """Return the runs a second of WORKERS processes, from the first batch of each to the last."""
    began, runs = 0.0, 0
    for number, (task, _) in enumerate(Processes(WORKERS).run(make_work(study), list_tasks(study)), 1):
        if number == WORKERS:
            began = time.perf_counter()
        runs += len(task.runs) if number > WORKERS else 0
    return runs / (time.perf_counter() - began)


def loop(study: Study, number: int, ready: "multiprocessing.Barrier", rates: "multiprocessing.Queue") -> None:
    """Run a share of the batches, held to one processor, and tell the runs a second."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[number]})
    warm_engine()
    tasks = list_tasks(study)[number::WORKERS]
    run_batch(study, tasks[0])
    ready.wait()
    began = time.perf_counter()
    for task in tasks[1:]:
        run_batch(study, task)
    rates.put(sum(len(task.runs) for task in tasks[1:]) / (time.perf_counter() - began))


def time_loops(study: Study) -> float:
    """Return the sum of the runs a second of WORKERS loops side by side, each on a processor of its own."""
    context = multiprocessing.get_context("spawn")
    ready, rates = context.Barrier(WORKERS), context.Queue()
    held = [context.Process(target=loop, args=(study, number, ready, rates)) for number in range(WORKERS)]
    for process in held:
        process.start()
    total = sum(rates.get() for _ in held)
    for process in held:
        process.join()
    return total


def compare_with_loops(study: Study, repeats: int) -> None:
    """Print the ratio of four workers to four loops, round by round."""
    for _ in range(repeats):
        loops, workers = time_loops(study), time_workers(study)
        print(f"4 loops {loops:.1f} runs/s, 4 workers {workers:.1f} runs/s: {workers / loops:.2f}", flush=True)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pinned", action="store_true")
    for name, usual in (("runs", 200), ("days", 10), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    asked = parser.parse_args()
    place = Path(tempfile.mkdtemp()) / "study.yaml"
    place.write_text(STUDY.format(days=asked.days, runs=asked.runs))
    study = load_study(place)
    warm_engine()
    if asked.pinned:
        compare_with_loops(study, asked.repeats)
        return
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
