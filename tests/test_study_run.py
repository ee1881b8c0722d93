"""Running studies: the same bytes whoever runs them, and nothing is lost when a worker or the driver dies."""

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import psutil
import pytest
from test_cli import call, keep_signals  # noqa: F401

from niche_sim import simulation
from niche_sim.errors import InputError, ResourceError
from niche_sim.simulation import run_experiment
from niche_sim.store.folder import write_file
from niche_sim.store.manifest import seal
from niche_sim.study import running, runs, store, work
from niche_sim.study.execute import Processes, Serial, Threads, WorkerDied
from niche_sim.study.gate import load_study
from niche_sim.study.running import StudyProgress, describe_progress, resume_study, run_study
from niche_sim.study.spec import Design, Endpoint, Factor, RunSpec
from niche_sim.study.store import lock_folder, open_folder
from niche_sim.study.work import IDENTITY, Task

# ---------------------------------------------------------------- executors, alone


def prepare():
    """Workers of these tests have no engine to warm."""


def fail_to_prepare():
    os._exit(3)


def square(task):
    return pd.DataFrame({"square": [task.number**2]})


def complain(task):
    if task.number == 2:
        raise ValueError(f"no {task.number}")
    return square(task)


def die_at_two(task):
    """Note every try in a file, and take the process down in batch 2."""
    with open(task.name, "a") as file:
        file.write(f"{task.number}\n")
    if task.number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return square(task)


def die_once(task):
    if task.number == 2 and not os.path.exists(task.name):
        open(task.name, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return square(task)


def wait_for_ever(task):
    with open(f"{task.name}.{task.number}", "w") as file:
        file.write(str(os.getpid()))
    time.sleep(600)


def make_tasks(number, name="x"):
    return [Task(n, (RunSpec(n, n, 0, "control", f"key{n}"),), str(name), pd.DataFrame()) for n in range(number)]


def collect(executor, work, tasks):
    return {task.number: outcome for task, outcome in executor.run(work, iter(tasks))}


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited a minute in vain"
        time.sleep(0.02)


EXECUTORS = [Serial(), Threads(1), Threads(3), Processes(1, prepare), Processes(2, prepare), Processes(2, prepare, True)]


@pytest.mark.parametrize("executor", EXECUTORS, ids=lambda executor: type(executor).__name__)
def test_every_batch_comes_back_once_and_errors_come_back_as_such(executor):
    found = [(task.number, outcome) for task, outcome in executor.run(complain, iter(make_tasks(5)))]
    assert sorted(number for number, _ in found) == [0, 1, 2, 3, 4]
    outcomes = dict(found)
    assert "no 2" in str(outcomes.pop(2))
    assert {number: frame["square"][0] for number, frame in outcomes.items()} == {0: 0, 1: 1, 3: 9, 4: 16}
    assert list(executor.run(square, iter([]))) == []


@pytest.mark.parametrize("executor", [Threads(2), Processes(2, prepare)], ids=["threads", "processes"])
def test_few_batches_are_taken_ahead(executor):
    taken, given = 0, 0

    def tasks():
        nonlocal taken
        for task in make_tasks(40):
            taken += 1
            yield task

    for _ in executor.run(square, tasks()):
        given += 1
        assert taken - given <= 4
    assert given == 40


def test_a_batch_that_kills_its_process_is_tried_three_times_and_the_rest_finishes(tmp_path):
    found = collect(Processes(2, prepare), die_at_two, make_tasks(6, tmp_path / "tries"))
    assert isinstance(found[2], WorkerDied) and "died each time" in str(found[2])
    assert [found[number]["square"][0] for number in (0, 1, 3, 4, 5)] == [0, 1, 9, 16, 25]
    tries = sorted((tmp_path / "tries").read_text().split())
    assert tries == ["0", "1", "2", "2", "2", "3", "4", "5"]


def test_a_batch_whose_process_is_killed_once_is_run_again(tmp_path):
    found = collect(Processes(2, prepare), die_once, make_tasks(4, tmp_path / "died"))
    assert {number: frame["square"][0] for number, frame in found.items()} == {0: 0, 1: 1, 2: 4, 3: 9}
    assert (tmp_path / "died").exists()


def test_processes_that_do_not_come_up_are_said_and_no_run_is_blamed():
    with pytest.raises(ResourceError, match="exit code 3 before its first batch"):
        collect(Processes(2, fail_to_prepare), square, make_tasks(3))


def test_closing_the_iterator_ends_the_workers(tmp_path):
    outcomes = Processes(3, prepare).run(wait_for_the_last, iter(make_tasks(3, tmp_path / "pid")))
    assert next(outcomes)[0].number == 2
    pids = [int(path.read_text()) for path in tmp_path.glob("pid.*")]
    assert all(is_alive(pid) for pid in pids)
    outcomes.close()
    assert not any(is_alive(pid) for pid in pids)


def wait_for_the_last(task):
    if task.number < 2:
        return wait_for_ever(task)
    wait_until(lambda: sum(bool(path.read_text()) for path in Path(task.name).parent.glob("pid.*")) == 2)
    return square(task)


def test_an_error_of_a_worker_that_cannot_be_sent_is_still_told():
    found = collect(Processes(1, prepare), raise_odd, make_tasks(1))
    assert "a and b" in str(found[0])


class OddError(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


def raise_odd(task):
    raise OddError("a", "b")


# ---------------------------------------------------------------- a study

STUDY = Path(__file__).with_name("tiny_study.yaml")
pytestmark = pytest.mark.usefixtures("cut_small")


def read_files(directory):
    return {path.name: path.read_bytes() for path in (directory / "runs").iterdir()}


class Shuffled:
    """Batches in another order."""

    def run(self, work, batches):
        order = list(batches)
        random.Random(5).shuffle(order)
        assert [task.number for task in order] != sorted(task.number for task in order)
        yield from Serial().run(work, order)


@pytest.mark.parametrize("executor", [Threads(3), Shuffled(), Processes(2)], ids=["threads", "shuffled", "processes"])
def test_the_bytes_are_the_same_whoever_runs_the_study(study, untouched, executor, tmp_path):
    run_study(study, tmp_path / "again", executor)
    assert read_files(tmp_path / "again") == read_files(untouched)
    for name in ("study.yaml", "design.parquet", "index.parquet"):
        assert (tmp_path / "again" / name).read_bytes() == (untouched / name).read_bytes()
    assert open_folder(tmp_path / "again").hash() == open_folder(untouched).hash()


def test_the_table_is_read_in_one_line_and_has_every_planned_run_once(study, untouched):
    table = pd.read_parquet(untouched / "runs")
    folder = open_folder(untouched)
    assert sorted(table["key"]) == sorted(folder.load_index()["key"])
    assert table["key"].is_unique and set(table["status"]) == {"done"} and set(table["error"]) == {""}
    assert set(zip(table["point"], table["replicate"], table["arm"])) == {
        (point, replicate, arm) for point in range(6) for replicate in range(2) for arm in ("control", "treated")
    }
    assert list(table.columns) == [*IDENTITY, "bone", "drug", "escape_h"]
    doses = folder.load_design()["dose.value"].to_numpy()
    treated = table[(table["arm"] == "treated") & (table["replicate"] == 0)].sort_values("point")
    assert np.corrcoef(doses[treated["point"]], treated["drug"])[0, 1] > 0.99
    assert (table.loc[table["arm"] == "control", "drug"] == 0).all()


def test_rows_are_those_of_the_experiment_run_alone(study, untouched):
    """A shared spin-up, other arms and other drugs change no bit."""
    table, design = pd.read_parquet(untouched / "runs"), open_folder(untouched).load_design()
    for row in table.iloc[[0, 7, 23]].itertuples():
        alone = run_experiment(runs.build_run(study, design.iloc[row.point].to_dict(), row.replicate, row.arm))
        series = alone.arms[row.arm].series
        assert row.drug == series["drug_surface_fmol"].iloc[-1]
        assert row.bone == math.fsum(series["bone_volume_fraction"]) / len(series)


def test_a_part_is_finished_by_a_rerun_and_only_what_is_missing_runs(study, untouched, tmp_path, monkeypatch):
    target = tmp_path / "part"
    part = run_study(study, target, Serial(), limit=2)
    assert 0 < part.done < part.planned and part.missing == part.planned - part.done
    with pytest.raises(InputError, match="batches are missing"):
        open_folder(target).hash()
    ran, real = [], work.run_batch
    monkeypatch.setattr(work, "run_batch", lambda study, task: ran.append(task.number) or real(study, task))
    assert run_study(study, target, Serial()).missing == 0
    assert ran == list(range(2, part.batches))
    ran.clear()
    resume_study(target, Serial())
    assert ran == []
    assert read_files(target) == read_files(untouched)


def test_a_damaged_batch_is_named_and_run_again(untouched, tmp_path, capsys):
    target = tmp_path / "damaged"
    shutil.copytree(untouched, target)
    path = sorted((target / "runs").iterdir())[1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert call("verify", target) == 2
    assert path.name in capsys.readouterr().err
    assert call("hash", target) == 2
    resume_study(target, Serial())
    assert read_files(target) == read_files(untouched)
    assert call("verify", target) == 0


def test_the_file_of_another_batch_cannot_stand_in(untouched, tmp_path):
    target = tmp_path / "swapped"
    shutil.copytree(untouched, target)
    one, other = sorted((target / "runs").iterdir())[:2]
    other.unlink()
    batch, mark = other.stem.rpartition("-")[0], one.stem.rpartition("-")[2]
    shutil.copy(one, one.with_name(f"{batch}-{mark}.parquet"))
    (problem,) = open_folder(target).verify()
    assert batch in problem.path and "checksum" in problem.message
    resume_study(target, Serial())
    assert read_files(target) == read_files(untouched)


class Mover(Serial):
    """Moves the folder of the study away after two batches."""

    def __init__(self, folder):
        self.folder = folder

    def run(self, work, tasks):
        for number, outcome in enumerate(super().run(work, tasks)):
            if number == 2:
                self.folder.rename(self.folder.with_name("moved"))
            yield outcome


def test_a_folder_that_is_moved_while_the_study_runs_ends_it_and_is_not_made_anew(study, untouched, tmp_path):
    with pytest.raises(ResourceError, match="was moved or removed while the study ran"):
        run_study(study, tmp_path / "here", Mover(tmp_path / "here"))
    assert not (tmp_path / "here").exists() and len(read_files(tmp_path / "moved")) == 2
    resume_study(tmp_path / "moved", Serial())
    assert read_files(tmp_path / "moved") == read_files(untouched)


def test_what_does_not_belong_is_named(untouched, tmp_path):
    target = tmp_path / "strange"
    shutil.copytree(untouched, target)
    path = sorted((target / "runs").iterdir())[0]
    stray = path.with_name(f"999999-{'0' * 16}-{path.stem[-16:]}.parquet")
    shutil.copy(path, stray)
    (target / "index.parquet").write_bytes(b"no table")
    (target / "report.html").write_text("beside the checksums")
    found = {problem.path: problem.message for problem in open_folder(target).verify()}
    assert set(found) == {"index.parquet"}
    shutil.copy(untouched / "index.parquet", target / "index.parquet")
    found = {problem.path: problem.message for problem in open_folder(target).verify()}
    assert found == {f"runs/{stray.name}": "does not belong to this study; remove it"}


def test_other_folders_are_refused_and_what_differs_is_named(study, untouched, tmp_path):
    before = read_files(untouched)
    other = replace(study, replicates=1, endpoints=study.endpoints[:2])
    with pytest.raises(InputError, match=r"another study: replicates 2 -> 1, endpoints\.escape_h\.column cycling -> absent"):
        run_study(other, untouched, Serial())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"thesis\.txt"):
        run_study(study, tmp_path / "full", Serial())
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]
    with pytest.raises(InputError, match="is a file"):
        run_study(study, tmp_path / "full" / "thesis.txt", Serial())
    assert read_files(untouched) == before


def test_other_versions_are_refused_and_named(study, untouched, tmp_path):
    target = tmp_path / "old"
    shutil.copytree(untouched, target)
    manifest = json.loads((target / "study.json").read_text())
    manifest["versions"]["numba"] = "0.1"
    manifest["sources"] = "0" * 16
    (target / "study.json").write_bytes(seal(manifest))
    for go_on in (lambda: run_study(study, target, Serial()), lambda: resume_study(target, Serial())):
        with pytest.raises(InputError, match=r"numba 0\.1 -> .*sources of niche_sim 0000000000000000 -> "):
            go_on()
    manifest["name"] = "edited"
    (target / "study.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="checksum"):
        open_folder(target)


def test_a_worker_of_other_versions_refuses_to_work(study, untouched, tmp_path):
    class Elsewhere:
        def run(self, work, batches):
            yield from Serial().run(replace(work, versions=work.versions | {"numpy": "1.0"}, sources="f" * 16), batches)

    with pytest.raises(InputError, match=r"differ between the driver and this worker: .*numpy 1\.0 -> "):
        run_study(study, tmp_path / "apart", Elsewhere())
    assert read_files(tmp_path / "apart") == {}


def test_a_folder_whose_study_was_only_about_to_begin_is_told_as_such(tmp_path, capsys):
    (tmp_path / ".lock").touch()
    for words in (["resume"], ["verify"], ["hash"], ["study", "status"], ["study", "summary"]):
        assert call(*words, tmp_path) == 2
        assert f"`niche-sim study STUDY --out {tmp_path}` makes it" in capsys.readouterr().err


def test_one_driver_at_a_time(study, untouched):
    with lock_folder(untouched):
        found = subprocess.run(
            [sys.executable, "-m", "niche_sim", "study", str(STUDY), "--out", str(untouched), "--executor", "serial"],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert found.returncode == 2 and f"process {os.getpid()} is running this study already" in found.stderr
        assert open_folder(untouched).find_driver() == os.getpid()
    assert open_folder(untouched).find_driver() is None


def test_a_full_disk_stops_the_study_and_it_goes_on(study, untouched, tmp_path, monkeypatch):
    written = []

    def fill(path, content):
        if len(written) == 2:
            raise ResourceError(f"{path}: no room on the disk for this file")
        written.append(path)
        write_file(path, content)

    target = tmp_path / "full"
    run_study(study, target, Serial(), limit=1)
    monkeypatch.setattr(store, "write_file", fill)
    with pytest.raises(ResourceError, match="no room"):
        resume_study(target, Serial())
    monkeypatch.setattr(store, "write_file", write_file)
    assert open_folder(target).status().batches_written == 3
    resume_study(target, Serial())
    assert read_files(target) == read_files(untouched)


# ---------------------------------------------------------------- an image

IMAGE_STUDY = """\
name: from_image
experiment:
  name: tiny
  seed: 3
  scene: {kind: image, file: mask.npy, image_voxel: "20 um", voxel: "20 um", boundary: closed,
          sinusoid_spacing: "280 um", sinusoid_diameter: "40 um"}
  patient: postmenopausal
  time: {length: "2 d", spin_up: "1 d"}
  population: {dormant_dtc: 4}
  arms: {control: {}}
design: {kind: grid}
factors: {dormancy.exit_rate: {levels: 2}, remodelling: {at: switches.remodelling, values: [true, false]}}
replicates: 2
endpoints: {bone: {column: bone_volume_fraction}}
"""


@pytest.fixture
def place_image(tmp_path):
    def place(name, thick=6):
        folder = tmp_path / name
        folder.mkdir()
        mask = np.zeros((32, 32), np.uint8)
        mask[:, 10 : 10 + thick] = 1
        np.save(folder / "mask.npy", mask)
        (folder / "study.yaml").write_text(IMAGE_STUDY)
        return folder / "study.yaml"

    return place


def test_the_folder_of_a_study_of_an_image_stands_alone(place_image, tmp_path, capsys):
    first, second = place_image("first"), place_image("second")
    assert load_study(first).config_hash == load_study(second).config_hash
    run_study(load_study(second), tmp_path / "whole", Serial())
    part = run_study(load_study(first), tmp_path / "part", Serial(), limit=1)
    assert 0 < part.batches_written < part.batches
    shutil.rmtree(first.parent)
    moved = tmp_path / "elsewhere" / "moved"
    moved.parent.mkdir()
    (tmp_path / "part").rename(moved)
    assert call("resume", moved, "--executor", "serial", "--quiet") == 0
    assert call("verify", moved) == 0
    assert read_files(moved) == read_files(tmp_path / "whole")
    assert open_folder(moved).hash() == open_folder(tmp_path / "whole").hash()
    assert (moved / "scene.npy").read_bytes() == (second.parent / "mask.npy").read_bytes()
    again = run_study(load_study(moved / "study.yaml"), moved, Serial())  # the folder's own study is the same one
    assert again.done == again.planned == 8


def test_a_changed_image_is_refused_by_name(place_image, tmp_path, capsys):
    study = load_study(place_image("first"))
    target = tmp_path / "part"
    run_study(study, target, Serial(), limit=1)
    other = load_study(place_image("other", thick=9))
    assert other.config_hash != study.config_hash
    with pytest.raises(InputError, match=rf"SHA-256 of the image {tmp_path}/other/mask\.npy [0-9a-f]+ -> [0-9a-f]+;"):
        run_study(other, target, Serial())
    before = read_files(target)
    np.save(target / "scene.npy", np.eye(32))
    for go_on in (lambda: resume_study(target, Serial()), lambda: run_study(study, target, Serial())):
        with pytest.raises(InputError, match=r"scene\.npy: was changed after it was written"):
            go_on()
    assert call("verify", target) == 2 and "scene.npy: was changed" in capsys.readouterr().err
    (target / "scene.npy").unlink()
    with pytest.raises(InputError, match=r"scene\.npy: missing"):
        resume_study(target, Serial())
    assert read_files(target) == before


@pytest.mark.parametrize("factor, said", [
    ("image: {at: scene.file, values: [mask.npy, other.npy]}", "a study has one image"),
    ("scene: {values: [trabecula_small, ./mine.yaml]}", "'./mine.yaml' is a file of your own; name shipped ones"),
])  # fmt: skip
def test_files_of_the_user_are_no_values_of_a_factor(place_image, factor, said):
    file = place_image("first")
    file.write_text(IMAGE_STUDY.replace("factors: {", "factors: {" + factor + ", "))
    with pytest.raises(InputError, match=said):
        load_study(file)


# ---------------------------------------------------------------- runs that fail


def crowd(study, most):
    """The study with points that have too many tumour cells for the niche."""
    factor = Factor("cells", ("population.dormant_dtc",), "choice", values=(8, most))
    return replace(study, factors=(factor,), design=Design("grid"), replicates=1, arms=("control",))


def test_a_run_that_fails_is_tried_three_times_and_the_rest_finishes(study, tmp_path, monkeypatch):
    tries = []
    real = simulation.spin_up

    def spin_up(plan, *rest):
        tries.append(int(plan.experiment.population.dormant_dtc))
        return real(plan, *rest)

    monkeypatch.setattr(simulation, "spin_up", spin_up)
    found = run_study(crowd(study, 900), tmp_path / "crowd", Serial())
    assert (found.planned, found.done, found.failed, found.missing) == (2, 1, 1, 0)
    assert sorted(tries) == [8, 900, 900, 900]
    table = pd.read_parquet(tmp_path / "crowd" / "runs").sort_values("point")
    assert list(table["status"]) == ["done", "failed"]
    assert "900 tumour cells do not fit" in table["error"].iloc[1] and np.isnan(table["bone"].iloc[1])
    tries.clear()
    resume_study(tmp_path / "crowd", Serial())
    assert tries == []
    resume_study(tmp_path / "crowd", Serial(), retry_failed=True)
    assert tries.count(900) == 3
    assert len(read_files(tmp_path / "crowd")) == found.batches
    open_folder(tmp_path / "crowd").hash()


def test_failed_runs_give_exit_code_6(study, tmp_path, capsys):
    run_study(crowd(study, 900), tmp_path / "crowd", Serial())
    assert call("resume", tmp_path / "crowd") == 6
    said = capsys.readouterr()
    assert "1 of 2 runs failed" in said.err and "2 of 2 runs, 1 failed" in said.out
    assert call("study", "status", tmp_path / "crowd", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["planned"], told["done"], told["failed"], told["missing"], told["driver"]) == (2, 1, 1, 0, None)


class Murderous:
    """Processes that die of one run, as `Processes` tells it."""

    def __init__(self, key):
        self.key, self.sizes = key, []

    def run(self, work, batches):
        for task in batches:
            self.sizes.append(len(task.runs))
            dead = self.key in [run.key for run in task.runs]
            yield task, WorkerDied("it was ended by signal 9 (SIGKILL)") if dead else work(task)


def test_of_a_batch_that_takes_its_process_down_one_run_fails(study, untouched, tmp_path):
    batch = next(open_folder(untouched).list_batches())
    victim = batch.runs[1].key
    executor = Murderous(victim)
    found = run_study(study, tmp_path / "one", executor)
    assert (found.done, found.failed) == (23, 1)
    assert executor.sizes.count(1) >= len(batch.runs) > 1
    mine, theirs = (pd.read_parquet(place / "runs").set_index("key") for place in (tmp_path / "one", untouched))
    assert mine.loc[victim, "status"] == "failed" and "SIGKILL" in mine.loc[victim, "error"]
    pd.testing.assert_frame_equal(mine.drop(victim), theirs.drop(victim))


# ---------------------------------------------------------------- death and signals

SMALL = "import niche_sim.study.runs as r; r.SHORTEST_BATCH_S = 0.1; from niche_sim.cli import main; main()"


def start(target, *words):
    command = [sys.executable, "-c", SMALL, "study", str(STUDY), "--out", str(target), "--set", "time.length=60 d"]
    command += ["--set", "replicates=1", *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def count_batches(target):
    return len(list((target / "runs").glob("[!.]*.parquet")))


@pytest.fixture(scope="module")
def longer(tmp_path_factory):
    """The study with longer runs, which nothing happened to."""
    target = tmp_path_factory.mktemp("longer") / "untouched"
    process = start(target, "--executor", "serial", "--quiet")
    assert process.communicate(timeout=300)[1] == "" and process.returncode == 0
    return target


def test_killed_workers_and_a_killed_driver_leave_no_trace(longer, tmp_path):
    target = tmp_path / "killed"
    process = start(target, "--jobs", "2", "--quiet")
    wait_until(lambda: count_batches(target) >= 1)
    workers = [child.pid for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())]
    os.kill(workers[0], signal.SIGKILL)
    reached = count_batches(target) + 1
    wait_until(lambda: count_batches(target) >= reached)
    workers = [child.pid for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())]
    assert len(workers) >= 1
    process.kill()
    process.communicate()
    wait_until(lambda: not any(is_alive(pid) for pid in workers))
    assert 0 < count_batches(target) < count_batches(longer)
    assert open_folder(target).find_driver() is None
    assert call("verify", target) == 0
    assert call("resume", target, "--quiet", "--jobs", 2) == 0
    assert read_files(target) == read_files(longer)


@pytest.mark.parametrize(("executor", "number"), [("processes", signal.SIGTERM), ("threads", signal.SIGINT)])
def test_a_signal_stops_the_study_with_exit_code_5_and_it_goes_on(longer, tmp_path, executor, number):
    target = tmp_path / "stopped"
    process = start(target, "--jobs", "2", "--executor", executor)
    wait_until(lambda: count_batches(target) >= 1)
    workers = [child.pid for child in psutil.Process(process.pid).children()]
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 5 and f"niche-sim resume {target}" in said and "Traceback" not in said
    wait_until(lambda: not any(is_alive(pid) for pid in workers))
    assert not list((target / "runs").glob(".*"))
    resume_study(target, Serial())
    assert read_files(target) == read_files(longer)


# ---------------------------------------------------------------- small parts


def test_what_endpoints_take():
    series = pd.DataFrame({"time_h": [0.0, 6.0, 12.0, 18.0], "a": [np.nan, 2.0, 5.0, 3.0], "b": [4.0, 1.0, 0.0, 2.0]})
    series["none"] = 0.0
    takes = [
        ("a", "end", None, 3.0), ("b", "start", None, 4.0), ("b", "change", None, -2.0), ("a", "mean", None, 10 / 3),
        ("a", "min", None, 2.0), ("a", "max", None, 5.0), ("a", "sum", None, 10.0), ("a", "first_above", 2.0, 12.0),
        ("b", "first_below", 0.5, 12.0), ("b", "first_above", 3.9, 0.0), ("b", "first_above", 9.0, np.nan),
        ("a", "log10_mean", None, round(np.log10(10 / 3), 12)), ("none", "log10_mean", None, np.nan),
        ("a + b", "sum", None, 13.0), ("b+a+b", "end", None, 7.0), ("a + b", "first_above", 4.0, 12.0),
    ]  # fmt: skip
    ends = [Endpoint(str(number), column, take, level) for number, (column, take, level, _) in enumerate(takes)]
    found = work.measure(SimpleNamespace(series=series), ends)
    np.testing.assert_equal(list(found.values()), [value for *_, value in takes])


def test_the_first_word_of_study_may_be_a_file(tmp_path, capsys):
    assert call("study", "--help") == 0
    assert "status" in capsys.readouterr().out
    assert call("study", tmp_path / "absent.yaml") == 2
    assert "absent.yaml" in capsys.readouterr().err
    assert call("study", "--quiet", "--limit", "1", STUDY, "--executor", "serial", "--out", tmp_path / "a") == 0
    assert len(read_files(tmp_path / "a")) == 1
    assert call("study", "status", tmp_path) == 2
    assert "study.json" in capsys.readouterr().err


def test_resume_takes_the_options_of_study_for_a_study_alone(study, untouched, tmp_path, capsys):
    target = tmp_path / "part"
    run_study(study, target, Serial(), limit=1)
    assert call("resume", target, "--executor", "serial", "--limit", 1, "--quiet") == 0
    assert len(read_files(target)) == 2
    for words, said in (
        (["--executor", "serial", "--scheduler", "tcp://127.0.0.1:1"], "--scheduler: not with --executor serial"),
        (["--threads", 2], "say how many with --jobs"), (["--jobs", 0], "1<=x<=1024"), (["--limit", 0], "x>=1"),
    ):  # fmt: skip
        assert call("resume", target, *words) == 2
        assert said in capsys.readouterr().err
    assert len(read_files(target)) == 2
    assert call("resume", target, "--executor", "threads", "--jobs", 2, "--retry-failed") == 0
    assert read_files(target) == read_files(untouched)
    (tmp_path / "result").mkdir()
    for option in (["--executor", "dask"], ["--workers", 2], ["--job", "cores=4"], ["--retry-failed"]):
        assert call("resume", tmp_path / "result", *option) == 2
        name = option[0].replace("workers", "jobs")
        assert f"{name}: only of a study, and {tmp_path / 'result'} is none" in capsys.readouterr().err


def test_progress_in_lines(capsys):
    with StudyProgress("tiny", 10, quiet=False) as progress:
        progress.advance(4, 1)
        progress.advance(6, 0)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("10 of 10 runs, 1 failed")
    assert describe_progress(0, 200, 0, 0.0, None) == "0 of 200 runs, 0 failed"
    assert describe_progress(50, 200, 2, 100.0, 1.5) == "50 of 200 runs, 2 failed, 100 an hour, 90 min left"


def test_progress_is_said_also_when_nothing_comes_back(capsys, monkeypatch):
    monkeypatch.setattr(running, "LINE_EVERY_S", 0.05)
    monkeypatch.setattr(running, "SILENT_MIN", 0.0)
    said = ""
    with StudyProgress("tiny", 10, quiet=False):
        while "nothing has come back for 0 min" not in said:  # or the test ends by its own limit
            time.sleep(0.01)
            said += capsys.readouterr().err
    assert said.startswith("0 of 10 runs, 0 failed")


def test_where_no_cache_can_be_kept_processes_share_one_that_goes_with_the_first(tmp_path):
    ask = "import niche_sim.kernel as k; print(k.CACHE_FOLDER, k.is_temporary())"
    script = f"import subprocess, sys\n{ask}\nsys.stdout.flush()\nsubprocess.run([sys.executable, '-c', {ask!r}])"
    (tmp_path / "file").touch()
    environment = os.environ | {"NICHE_SIM_CACHE": str(tmp_path / "file"), "TMPDIR": str(tmp_path)}
    said = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True).stdout
    first, second = said.splitlines()
    assert first == second and first.startswith(str(tmp_path / "niche_sim-cache-")) and first.endswith(" True")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
