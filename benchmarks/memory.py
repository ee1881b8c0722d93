"""Peak memory against the forecast of `niche-sim plan`: `python benchmarks/memory.py [NAME ...] [--markdown]`.

Every case is a real command in fresh processes with a warm cache of compiled code. The peak of a process is its high-water
mark (VmHWM, kept by Linux), read fifty times a second; of a study it is the sum over its processes, each with its own peak
and with what they share counted in each.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line and the workers have it

import psutil

from niche_sim import plan
from niche_sim.config import load_experiment
from niche_sim.study import runs
from niche_sim.study.design import build_design
from niche_sim.study.gate import load_study
from niche_sim.study.work import warm_engine

MB = 1e6
MONTHLY = "{regimen: zoledronate_q4w}"
EXPERIMENT = """\
name: case
seed: 1
scene: {scene}
patient: postmenopausal
time: {{length: "{length}", spin_up: "1 d"}}
population: {{dormant_dtc: 8, cycling_dtc: {cycling}}}
{more}
arms: {arms}
"""
STUDY = """\
name: case
experiment: ./experiment.yaml
design: {{kind: latin_hypercube, points: {points}, seed: 1}}
factors: {{{factors}}}
replicates: {replicates}
"""
FACTORS = (
    "dormancy.exit_rate", "osteoclasts.erosion_rate", "osteoclasts.lifespan", "osteoclasts.precursor_density",
    "osteoblasts.recruitment_rate", "macrophages.density",
)  # fmt: skip


def square(edge_mm: float, dimensions: int = 2) -> str:
    """Return a generated scene of voxels of 20 um."""
    size = ", ".join([f'"{edge_mm} mm"'] * dimensions)
    thick, apart = (100, 490) if dimensions == 3 else (140, 650)
    return (
        f'{{kind: generated, size: [{size}], voxel: "20 um", boundary: periodic, bone_volume_fraction: 0.17, '
        f'trabecular_thickness: "{thick} um", trabecular_separation: "{apart} um", sinusoid_spacing: "280 um", '
        'sinusoid_diameter: "40 um"}'
    )


def arms(plain: int, treated: int = 0) -> str:
    """Return arms without and with drug."""
    held = [f"a{i}: {{}}" for i in range(plain)] + [f"b{i}: {MONTHLY}" for i in range(treated)]
    return "{" + ", ".join(held) + "}"


@dataclass(frozen=True)
class Case:
    """One command: an experiment, or a study of it if it has points."""

    name: str
    scene: str = "trabecula_small"
    arms: str = arms(1)
    length: str = "30 d"
    cycling: int = 0
    more: str = ""
    points: int = 0
    factors: int = 2
    replicates: int = 1
    jobs: int = 1
    executor: str = "processes"
    limit: int = 0

    def write(self, folder: Path) -> Path:
        """Write the file that the command is given."""
        text = EXPERIMENT.format(**vars(self))
        (folder / "experiment.yaml").write_text(text)
        if not self.points:
            return folder / "experiment.yaml"
        factors = ", ".join(f"{name}: {{}}" for name in FACTORS[: self.factors])
        text = STUDY.format(points=self.points, replicates=self.replicates, factors=factors)
        (folder / "study.yaml").write_text(text)
        return folder / "study.yaml"

    def command(self, file: Path, out: Path) -> list[str]:
        """Return the words of the command."""
        words = [sys.executable, "-m", "niche_sim", "study" if self.points else "run", str(file), "--out", str(out)]
        if self.points:
            words += ["--jobs", str(self.jobs), "--executor", self.executor]
            words += ["--limit", str(self.limit)] if self.limit else []
        return [*words, "--quiet"]

    def forecast(self, file: Path) -> int:
        """Return what `plan` says of it, bytes."""
        if not self.points:
            return int(plan.estimate(load_experiment(str(file)))["memory_bytes"])
        study = load_study(str(file))
        design = build_design(study)
        together = self.executor in ("threads", "serial")
        each = runs.forecast_memory(study, design, self.jobs, runs.survey_points(study, design), together=together)
        return each["driver"] + self.jobs * each["worker"]


WIDE: dict[str, Any] = {"scene": square(10), "arms": arms(0, 1), "length": "5 d"}
CASES = (
    Case("1,600 voxels, 1 arm"),
    Case("1,600 voxels, 4 arms, 2 with drug", arms=arms(2, 2), length="1 yr"),
    Case("1,600 voxels, ten years", length="10 yr"),
    Case("10,000 voxels, 2 arms, 1 with drug", scene=square(2), arms=arms(1, 1), length="1 yr"),
    Case("40,000 voxels, 1 arm", scene=square(4)),
    Case("40,000 voxels, tumour that grows", scene=square(4), cycling=2000, length="60 d"),
    Case("40,000 voxels, fields daily", scene=square(4), more='record: {fields: "1 d"}'),
    Case("40,000 voxels, pictures daily", scene=square(4), more='record: {pictures: "1 d"}'),
    Case("40,000 voxels, cells daily", scene=square(4), length="180 d", more='record: {cells: "1 d"}'),
    Case("250,000 voxels, 1 arm", scene=square(10), length="5 d"),
    Case("250,000 voxels, 4 arms with drug", scene=square(10), arms=arms(0, 4), length="5 d"),
    Case("64^3 voxels, 1 arm", scene=square(1.28, 3), length="5 d"),
    Case("64^3 voxels, 4 arms with drug", scene=square(1.28, 3), arms=arms(0, 4), length="5 d"),
    Case("study, 40 runs, 1 process", points=40),
    Case("study, 400 runs, 4 processes", points=400, jobs=4),
    Case("study, 40 runs, 4 threads", points=40, jobs=4, executor="threads"),
    Case("study, 8 runs of 250,000 voxels with drug, 2 processes", points=8, jobs=2, **WIDE),
    Case("study, 8 runs of 250,000 voxels with drug, 2 threads", points=8, jobs=2, executor="threads", **WIDE),
    Case("study, 4 runs of 64^3 voxels, 1 process", scene=square(1.28, 3), length="5 d", points=4),
    Case("study, 400 runs, 2 workers of Dask", points=400, jobs=2, executor="dask"),
    Case("study, 50,000 points, 3 batches, 1 process", points=50_000, limit=3, length="1 d"),
    Case("study, 50,000 points of 6 factors, 3 batches, 1 process", points=50_000, factors=6, limit=3, length="1 d"),
    Case(
        "study, 10,000 points, 2 arms, 10 replicates, 3 batches, 1 process", points=10_000, arms=arms(1, 1), replicates=10,
        limit=3, length="1 d",
    ),
)  # fmt: skip


def measure(command: list[str]) -> dict[int, tuple[str, int]]:
    """Return the peak memory (bytes) of every process of a command, with what it is, by its number."""
    peaks: dict[int, tuple[str, int]] = {}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    family = psutil.Process(process.pid)
    while process.poll() is None:
        for pid, role in list_family(family):
            high = read_peak(pid)
            if high:  # the last is the highest; before its exec a child has that of its parent
                peaks[pid] = role, high
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return peaks


def list_family(family: psutil.Process) -> Iterator[tuple[int, str]]:
    """Yield the processes of a command and what they are."""
    yield family.pid, "driver"
    try:
        for child in family.children(recursive=True):
            yield child.pid, "worker"
    except psutil.Error:
        return


def read_peak(pid: int) -> int:
    """Return the high-water mark (bytes) of a process, 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def warm_figures() -> None:
    """Run a small case once: what figures compile is in the cache then, as it is with every user after the first run."""
    with tempfile.TemporaryDirectory() as place:
        case = Case("warm", arms=arms(0, 1), length="10 d")
        measure(case.command(case.write(Path(place)), Path(place) / "out"))


def try_case(case: Case) -> dict[str, Any]:
    """Return forecast and measured peaks of a case, bytes."""
    with tempfile.TemporaryDirectory() as place:
        file = case.write(Path(place))
        forecast = case.forecast(file)
        peaks = measure(case.command(file, Path(place) / "out"))
    parts = [high for _, high in peaks.values()]
    workers = [high for role, high in peaks.values() if role == "worker"]
    return {"forecast": forecast, "peak": sum(parts), "driver": sum(parts) - sum(workers), "workers": sorted(workers)[::-1]}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only cases whose names hold one of these")
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()
    warm_engine()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    line = "| {} | {} | {} | {} |" if given.markdown else "{:<70}{:>12}{:>12}{:>8}"
    print(line.format("case", "forecast MB", "measured MB", "ratio"))
    warm_figures()
    for case in CASES:
        if given.names and not any(name in case.name for name in given.names):
            continue
        found = try_case(case)
        ratio = f"{found['forecast'] / found['peak']:.2f}"
        print(line.format(case.name, f"{found['forecast'] / MB:.0f}", f"{found['peak'] / MB:.0f}", ratio), flush=True)
        if found["workers"] and not given.markdown:
            told = ", ".join(f"{worker / MB:.0f}" for worker in found["workers"])
            print(f"    driver {found['driver'] / MB:.0f}, workers {told}")


if __name__ == "__main__":
    main()
