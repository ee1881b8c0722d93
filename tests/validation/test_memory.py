"""Memory of real processes: the forecast of `plan` within 20 %, and a study of 20,000 runs that does not grow."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from niche_sim.study.work import warm_engine

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import memory

pytestmark = [pytest.mark.deep, pytest.mark.timeout(3600)]
if not Path("/proc/self/status").exists():
    pytest.skip("peaks are read from /proc", allow_module_level=True)

CASES = (
    "10,000 voxels, 2 arms, 1 with drug", "40,000 voxels, fields daily", "250,000 voxels, 4 arms with drug",
    "64^3 voxels, 1 arm",
    "study, 400 runs, 4 processes", "study, 8 runs of 250,000 voxels with drug, 2 threads",
    "study, 10,000 points, 2 arms, 10 replicates, 3 batches, 1 process",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def warm():
    """No process compiles anything while it is measured, figures included."""
    warm_engine()
    memory.warm_figures()


@pytest.mark.parametrize("name", CASES)
def test_the_peak_is_forecast_within_a_fifth(name):
    found = memory.try_case(next(case for case in memory.CASES if case.name == name))
    assert found["forecast"] == pytest.approx(found["peak"], rel=0.2), found


def count_files(folder):
    return len(list(folder.glob("[!.]*.parquet")))


def test_twenty_thousand_runs_take_no_more_than_the_first_thousands(tmp_path):
    """Driver and workers, from a fifth of the batches to the last: less than 15 MB more, and as many open files."""
    case = memory.Case("flat", points=20_000, length="1 d", jobs=2)
    process = subprocess.Popen(["nice", "-n", "15", *case.command(case.write(tmp_path), tmp_path / "out")])
    family, rows = psutil.Process(process.pid), []
    while process.poll() is None:
        written = count_files(tmp_path / "out" / "runs")
        try:
            held = [family, *family.children()]
            sizes = [one.memory_info().rss for one in held if one.memory_info().rss > 100e6]
            rows.append((written, sizes[0], max(sizes[1:], default=0), family.num_fds(), len(held)))
        except (psutil.Error, IndexError):
            continue
        time.sleep(1.0)
    assert process.returncode == 0
    batches = count_files(tmp_path / "out" / "runs")
    first = next(row for row in rows if row[0] >= batches / 5)
    last = [row for row in rows if row[0] < batches][-1]
    assert batches > 100 and last[0] > 0.9 * batches
    for early, late in zip(first[1:3], last[1:3]):
        assert late - early < 15e6, (first, last)
    assert last[3:] == first[3:]
