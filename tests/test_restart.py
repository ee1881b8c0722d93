"""Stop, kill, damage, resume, rerun, branch: the results are those of a run that nothing happened to.

A failure rate p passes n kills with probability (1 - p)^n: 20 kills here bound it at 14 %, the 200 of the deep tier at
1.5 % (95 % confidence).
"""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from test_cli import stop

from niche_sim.store import hash_result, load

JOB = [
    "e00_zoledronate_niche", "--set", "scene=trabecula_small", "--set", "population.dormant_dtc=8", "--length", "240 d",
    "--set", "time.spin_up=60 d", "--quiet",
]  # fmt: skip


def start(*words, environment=None):
    command = [sys.executable, "-m", "niche_sim", *map(str, words)]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | (environment or {})
    )


def finish(*words, code=0, environment=None):
    process = start(*words, environment=environment)
    out, said = process.communicate(timeout=300)
    assert process.returncode == code, said
    assert "Traceback" not in said
    return out, said


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    place = tmp_path_factory.mktemp("restart") / "untouched"
    finish("run", *JOB, "--no-figures", "--out", place)
    return place


def kill_often(target, kills, seed):
    """Kill a run and its resumptions at random moments of their life; return how many kills hit a living process."""
    chance, hits, words = random.Random(seed), 0, ["run", *JOB, "--no-figures", "--checkpoint-every", "2 d", "--out", target]
    while hits < kills:
        process = start(*words)
        try:
            process.wait(timeout=chance.uniform(0.2, 3.2))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            hits += 1
        process.communicate()
        started = target.with_name(target.name + ".unfinished").exists() or target.exists()
        words = ["resume", target, "--quiet"] if started else words
        if target.exists() and hits < kills:
            yield hits
            for path in sorted(target.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            target.rmdir()
            words = ["run", *JOB, "--no-figures", "--checkpoint-every", "2 d", "--out", target]
    if not target.exists():
        finish(*words)
    yield hits


def survive(untouched, target, kills, seed):
    for _ in kill_often(target, kills, seed):
        assert hash_result(target) == hash_result(untouched)
    assert not target.with_name(target.name + ".unfinished").exists()


def test_a_run_survives_twenty_kills(untouched, tmp_path):
    survive(untouched, tmp_path / "killed", 20, 1)


@pytest.mark.deep
def test_a_run_survives_two_hundred_kills(untouched, tmp_path):
    survive(untouched, tmp_path / "killed", 200, 2)


def test_checkpoints_and_threads_change_nothing(untouched, tmp_path):
    finish("run", *JOB, "--no-figures", "--checkpoint-every", "50 d", "--threads", 1, "--out", tmp_path / "kept")
    assert hash_result(tmp_path / "kept") == hash_result(untouched)
    assert load(tmp_path / "kept").series.equals(load(untouched).series)
    assert len(load(untouched).bmus) > 0
    assert load(tmp_path / "kept").bmus.equals(load(untouched).bmus)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"PYTHONHASHSEED": "1", "LC_ALL": "C", "TZ": "Asia/Tokyo"}, ["--threads", 8]),
        ({"PYTHONHASHSEED": "77", "LANG": "de_DE.UTF-8", "NUMBA_NUM_THREADS": "1"}, ["--threads", 4]),
        ({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}, ["--threads", 2]),
    ],
)
def test_surroundings_change_nothing(untouched, tmp_path, monkeypatch, environment, words):
    """Fresh processes in another folder, with other hash seeds, locales, time zones and threads: one hash."""
    monkeypatch.chdir(tmp_path)
    finish("run", *JOB, "--no-figures", *words, "--out", "here", environment=environment)
    assert hash_result(tmp_path / "here") == hash_result(untouched)


def stop_early(target, number=signal.SIGTERM):
    """Start a long run, stop it once an arm is running; return its exit code, processor time to the end, what it said."""
    process = start("run", *JOB, "--no-figures", "--checkpoint-every", "2 d", "--length", "20 yr", "--out", target)
    arms = target.with_name(target.name + ".unfinished") / "arms"
    deadline = time.monotonic() + 200
    while not list(arms.glob("*/state-*2")) and time.monotonic() < deadline:
        time.sleep(0.02)
    _, said, seconds = stop(process, number)
    return process.returncode, seconds, said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_ends_with_5_and_says_how_to_go_on(tmp_path, number):
    code, seconds, said = stop_early(tmp_path / "stopped", number)
    assert code == 5
    assert seconds < 5
    assert "niche-sim resume" in said
    for name in ("stopped", "stopped.unfinished"):
        out, _ = finish("verify", tmp_path / name)
        assert "sound" in out


def test_a_run_without_checkpoints_keeps_what_it_has_when_it_is_stopped(untouched, tmp_path):
    target = tmp_path / "plain"
    process = start("run", *[word for word in JOB if word != "--quiet"], "--length", "20 yr", "--out", target)
    for line in process.stderr:
        if line.startswith(("control: started", "control: 5")):
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 5
    assert "niche-sim resume" in said
    out, _ = finish("verify", target)
    assert "sound" in out


def test_a_resumed_run_is_drawn_only_if_it_was_to_be(untouched, tmp_path):
    process = start("run", *JOB, "--no-figures", "--checkpoint-every", "2 d", "--out", tmp_path / "plain")
    while not (tmp_path / "plain.unfinished" / "run.json").exists():
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    finish("resume", tmp_path / "plain")
    assert not (tmp_path / "plain" / "report.html").exists()
    assert hash_result(tmp_path / "plain") == hash_result(untouched)


def test_a_second_run_into_a_stopped_one_is_refused(tmp_path):
    stop_early(tmp_path / "stopped")
    _, said = finish("run", *JOB, "--out", tmp_path / "stopped", code=2)
    assert "resume" in said


@pytest.mark.parametrize("harm", ["flip", "cut", "delete", "empty"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(untouched, tmp_path, harm):
    target, work = tmp_path / "harmed", tmp_path / "harmed.unfinished"
    process = start("run", *JOB, "--no-figures", "--checkpoint-every", "2 d", "--out", target)
    while not list(work.glob("arms/control/state-*5")):
        time.sleep(0.01)
        assert process.poll() is None
    process.kill()
    process.communicate()
    newest = sorted(work.glob("arms/control/state-*"))[-1]
    content = bytearray(newest.read_bytes())
    if harm == "flip":
        content[len(content) // 2] ^= 1
    newest.write_bytes({"flip": content, "cut": content[:1000], "delete": b"", "empty": b""}[harm])
    if harm == "delete":
        newest.unlink()
    else:
        _, said = finish("verify", target, code=2)
        assert newest.name in said
    _, said = finish("resume", target)
    assert harm == "delete" or newest.name in said
    assert hash_result(target) == hash_result(untouched)


@pytest.mark.parametrize("name", ["resolved.yaml", "run.json"])
def test_an_edited_description_is_refused(tmp_path, name):
    stop_early(tmp_path / "edited")
    path = tmp_path / "edited.unfinished" / name
    path.write_bytes(path.read_bytes().replace(b"e", b"f", 1))
    _, said = finish("resume", tmp_path / "edited", code=2)
    assert name in said


def test_what_cannot_be_resumed_is_said(untouched, tmp_path):
    _, said = finish("resume", tmp_path / "nothing", code=2)
    assert "no unfinished run" in said
    _, said = finish("resume", untouched)
    assert "complete" in said


def test_rerun_gives_the_equal_hash_and_refuses_an_edited_byte(untouched, tmp_path):
    out, _ = finish("rerun", untouched, "--out", tmp_path / "again", "--quiet")
    assert out.strip() == f"equal: {hash_result(untouched)}"
    path = tmp_path / "again" / "series.parquet"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    _, said = finish("rerun", tmp_path / "again", "--out", tmp_path / "third", code=2)
    assert "series.parquet" in said


def test_a_branch_shares_its_past_and_runs_again(untouched, tmp_path):
    words = ["--at", "120 d", "--set", "switches.osteoclasts=false", "--arm", "control", "--out", tmp_path / "branch"]
    finish("branch", untouched, *words, "--quiet", "--no-figures")
    old, new = load(untouched), load(tmp_path / "branch")
    past = new.series[new.series["time_h"] <= 120 * 24]
    assert past.equals(old.series[old.series["time_h"] <= 120 * 24])
    last = new.series[new.series["arm"] == "control"].iloc[-1]
    assert last["osteoclast_fusions"] < old.series[old.series["arm"] == "control"].iloc[-1]["osteoclast_fusions"]
    drug = new.series["arm"] == "zoledronate"
    assert new.series[drug].equals(old.series[drug])
    finish("rerun", tmp_path / "branch", "--out", tmp_path / "again", "--quiet")


def test_a_branch_with_another_regimen_keeps_the_doses_given(untouched, tmp_path):
    words = ["--at", "60 d", "--regimen", "zoledronate_q6m", "--arm", "zoledronate", "--out", tmp_path / "spaced"]
    finish("branch", untouched, *words, "--quiet", "--no-figures")
    doses = load(tmp_path / "spaced").events.query("event == 'dose'")["time_h"].to_numpy() / 24
    assert doses[:3].tolist() == [0.0, 28.0, 56.0]
    assert doses[3] == 60.0
    assert (doses[3:] >= 60).all()


def test_a_branch_with_one_dose_more(untouched, tmp_path):
    words = ["--at", "60 d", "--give", "clodronate 300 mg iv", "--arm", "control", "--out", tmp_path / "dosed"]
    finish("branch", untouched, *words, "--quiet", "--no-figures")
    old, new = load(untouched), load(tmp_path / "dosed")
    doses = new.events.query("event == 'dose' and arm == 'control'")
    assert doses[["cause", "time_h"]].to_numpy().tolist() == [["clodronate", 1440.0]]
    drug = new.series["arm"] == "zoledronate"
    assert new.series[drug].equals(old.series[drug])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--at", "60 d", "--give", "zoledronate"], "expected a drug, a dose and perhaps a route"),
        (["--at", "60 d", "--give", "zoledronat 4 mg"], "did you mean 'zoledronate'"),
        (["--at", "60 d", "--give", "zoledronate 4 um"], "--give"),
        (["--at", "9 yr", "--set", "switches.death=false"], "not inside the run"),
        (["--at", "60 d", "--set", "time.tick=3 h"], "the past cannot be changed"),
        (["--at", "60 d", "--set", "dormancy.exit_rat=1e-4 /d"], "did you mean 'dormancy.exit_rate'"),
        (["--at", "60 d", "--regimen", "none_such"], "none_such"),
        (["--at", "60 um", "--set", "switches.death=false"], "is a length"),
        (["--at", "60 d"], "nothing is changed"),
        (["--at", "61 h", "--set", "switches.death=false"], "not a whole number of ticks"),
        (["--at", "60 d", "--set", "dormancy.exit_rate=9 /d"], "branch: arms.control.changes.0.override.dormancy.exit_rate"),
        (["--at", "60 d", "--set", "switches.death=false", "--arm", "placebo"], "no arm 'placebo'"),
    ],
)
def test_impossible_branches_are_refused(untouched, tmp_path, words, told):
    _, said = finish("branch", untouched, *words, "--out", tmp_path / "no", code=2)
    assert told in said
    assert not (tmp_path / "no").exists()


def test_rng_prints_the_known_answers():
    out, _ = finish("rng", "0x299f31d0a4093822", "0x0370734413198a2e85a308d3243f6a88")
    assert out.split() == ["d16cfe09", "94fdcceb", "5001e420", "24126ea1"]
    _, said = finish("rng", "1", "-3", code=2)
    assert said
